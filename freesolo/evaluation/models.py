"""The model that is evaluated: how it is asked, and which state of it answered."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass

from freesolo.client.chat import ChatClient, Reply
from freesolo.client.hub import HubClient
from freesolo.datasets.types import Message
from freesolo.domain.refs import AdapterRef
from freesolo.environments.answers import Answer, split_thinking
from freesolo.errors import AdapterNotFound, InvalidRef, ModelMoved


@dataclass(frozen=True)
class Target:
    """What is evaluated: the `name` to ask for, and the revision that has to answer, if one must."""

    text: str
    name: str
    revision: str | None = None

    @property
    def digest(self) -> str | None:
        """What of the revision names its content."""
        return self.revision and self.revision.rpartition(".")[2]


@dataclass(frozen=True)
class Sampling:
    """How answers are drawn. Sample number k is drawn with `seed` + k, if there is a seed."""

    max_tokens: int
    temperature: float
    seed: int | None = None


def find_target(text: str, hub: HubClient) -> Target:
    """Read what a user calls a model: a name, `RUN_ID/step-N`, or one revision of an adapter."""
    try:
        ref = AdapterRef.parse(text)
    except InvalidRef:
        return Target(text, text)
    if ref.revision is not None or ref.step is None:
        return Target(text, str(ref), ref.revision)
    saved = {point.step: point.revision for point in hub.checkpoints(ref.run_id)}
    if ref.step not in saved:
        raise AdapterNotFound(
            f"{ref.run_id} has saved nothing after step {ref.step}.",
            hint=f"`freesolo runs checkpoints {ref.run_id}` lists what it saved.",
        )
    return Target(text, saved[ref.step], saved[ref.step])


class AskedModel:
    """A model that answers, and what it said of itself while it did. Threads may share one."""

    def __init__(
        self, client: ChatClient, target: Target, sampling: Sampling, *, settled: bool
    ) -> None:
        self._client = client
        self._sampling = sampling
        # Whether its fingerprint is one immutable state, as our gateway's is.
        self._settled = settled
        self._lock = threading.Lock()
        self._fingerprints: set[str] = set()
        self.target = target
        self.cut_off = 0

    @property
    def revision(self) -> str | None:
        """The one state that answered; None if none was told, or several were."""
        return next(iter(self._fingerprints)) if len(self._fingerprints) == 1 else None

    def ask(self, messages: Sequence[Message], *, sample: int) -> str:
        """Return the answer to some messages, apart from what was thought before it.

        Raise `ModelMoved` if another adapter answers than the one that should, or than before.
        """
        seed = self._sampling.seed
        reply = self._client.complete(
            self.target.name,
            messages,
            max_tokens=self._sampling.max_tokens,
            temperature=self._sampling.temperature,
            seed=None if seed is None else seed + sample,
        )
        self._note(reply)
        return _answer(reply)

    def _note(self, reply: Reply) -> None:
        with self._lock:
            self.cut_off += reply.finish_reason == "length"
            if reply.fingerprint is None:
                return
            self._fingerprints.add(reply.fingerprint)
            if self._settled:
                self._check(reply.fingerprint)

    def _check(self, fingerprint: str) -> None:
        target = self.target
        if target.digest not in (None, fingerprint.rpartition(".")[2]):
            raise ModelMoved(
                f"{target.name} answers as {fingerprint}, not as {target.text}.",
                hint=f"`freesolo deploy {target.text} --wait` serves it.",
            )
        if len(self._fingerprints) > 1:
            raise ModelMoved(
                f"{target.name} was {' and '.join(sorted(self._fingerprints))} while it was asked.",
                hint="Somebody deployed meanwhile; evaluate again, perhaps one revision by its name.",
            )


def _answer(reply: Reply) -> str:
    """Return what scorers get: the text, with its thinking if the model thought."""
    if not reply.reasoning:
        return split_thinking(reply.text)
    raw = f"<think>\n{reply.reasoning}\n</think>\n\n{reply.text}"
    return Answer(reply.text, thinking=reply.reasoning, raw=raw)
