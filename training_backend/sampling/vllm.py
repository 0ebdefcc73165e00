"""Sampling with vLLM, which gets the policy's adapter anew under a new name after each update.

The adapter stays an adapter: merged into weights of 16 bits, most of an update would be rounded away.
The name is new each time because vLLM remembers what it has read by the adapter's name.
"""

import math
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from operator import sub
from pathlib import Path
from statistics import fmean
from typing import Protocol

from freesolo.errors import (
    ContextLengthExceeded,
    EngineUnavailable,
    FreesoloError,
    InvalidAdapter,
)
from training_backend.sampling.sampler import Finish, Ids, Request, Rules, Sampled
from training_backend.sampling.vllm_server import Engine, EngineSource
from training_backend.vllm_client import Completion

# An answer has this long for each of its tokens, and this long besides.
_SECONDS = 120.0
_SECONDS_PER_TOKEN = 2.0
# Tokens by which an adapter that was loaded is tried.
_TRIED_TOKENS = 8
# How far the engine may be from the trainer in the mean of those: more than rounding explains, and
# less than another model or temperature does.
_MOST_DIFFERENCE = 0.5
_FINISHES = {"stop": Finish.STOP, "length": Finish.LENGTH}


class Policy(Protocol):
    """The adapter that is trained, as far as a server is concerned."""

    def save(self, folder: Path) -> None:
        """Write the adapter as PEFT does, and nothing else."""

    def has_effect(self) -> bool:
        """Say whether the adapter changes the model at all: a fresh one does not."""

    def logprobs(self, prompt: Ids, after: Ids) -> Sequence[float]:
        """Return how likely the tokens of `after` are to the trainer, at the run's temperature."""


@dataclass(frozen=True)
class Residence:
    """What a sampler is called at its server, where it keeps its adapters, and what those are
    tried on."""

    name: str
    folder: Path
    probe: Ids


class VllmSampler:
    """Samples from the policy through a vLLM server. `context` is the most tokens of a request.

    An engine that dies is started again once in a run, and an answer that does not come is asked for
    once more.
    """

    def __init__(
        self,
        source: EngineSource,
        policy: Policy,
        rules: Rules,
        *,
        residence: Residence,
        context: int,
        tell: Callable[[str], None],
    ) -> None:
        self._source = source
        self._policy = policy
        self._rules = rules
        self._residence = residence
        self._context = context
        self._tell = tell
        self._engine: Engine | None = None
        self._revived = False
        self._version = 0
        self._adapter: Path | None = None
        self._read_by_base: tuple[float, ...] = ()

    def sample(self, requests: Sequence[Request]) -> list[Sampled]:
        """Answer all requests, in their order.

        Raise `EngineUnavailable` for an answer that did not come twice.
        """
        answers = self._ask_all(requests)
        failed = [place for place, answer in enumerate(answers) if not isinstance(answer, Sampled)]
        if failed:
            self._revive_if_dead()
            again = self._ask_all([requests[place] for place in failed])
            for place, answer in zip(failed, again, strict=True):
                answers[place] = answer
        return [_given(answer) for answer in answers]

    def policy_changed(self) -> None:
        """Give the server the policy as it is now, try it, and take the one before away.

        Raise `InvalidAdapter` if the server answers as if it had not heard.
        """
        engine, before = self._running(), self._adapter
        self._version += 1
        self._adapter = newest = self._residence.folder / f"{self._residence.name}-v{self._version}"
        self._policy.save(newest)
        try:
            self._load(newest)
        except EngineUnavailable:
            if not self._revive_if_dead():
                self._load(newest)
        if before is not None:
            if self._engine is engine:
                engine.client.unload(before.name)
            shutil.rmtree(before)

    def forget(self) -> None:
        """Do nothing: what the server has read is its own to keep, under the adapter's name."""

    def close(self) -> None:
        """End the server if it is this job's; remove the adapters from another, and their files."""
        if self._engine is not None and self._adapter is not None:
            # Whatever is wrong with the server now, the work is done or has its own error.
            with suppress(FreesoloError):
                self._engine.client.unload(self._adapter.name)
        self._forget_engine()
        self._source.stop()
        shutil.rmtree(self._residence.folder, ignore_errors=True)

    def _running(self) -> Engine:
        if self._engine is None:
            self._engine = engine = self._source.start()
            if engine.context < self._context:
                raise ContextLengthExceeded(
                    f"{engine.client.named} reads {engine.context} tokens, and the run needs "
                    f"{self._context}.",
                    hint="Lower `train.max_context_tokens`, or serve with a larger --max-model-len.",
                )
            self._read_by_base = _reading(self._try(engine, engine.base, tokens=1))
        return self._engine

    def _revive_if_dead(self) -> bool:
        """Start another engine with the policy if this one has died; say whether it had."""
        if self._source.is_alive():
            return False
        if self._revived:
            raise EngineUnavailable(
                "vLLM died for the second time in this run.",
                hint="Memory is the usual reason: lower `train.max_context_tokens`, or sample in the "
                "process (FREESOLO_TRAIN_SAMPLER=in-process) on a CPU.",
            )
        self._revived = True
        self._tell("vLLM died, and is started again.")
        self._forget_engine()
        if self._adapter is not None:
            self._load(self._adapter)
        return True

    def _forget_engine(self) -> None:
        if self._engine is not None:
            self._engine.client.close()
            self._engine = None

    def _load(self, adapter: Path) -> None:
        engine = self._running()
        engine.client.load(adapter.name, adapter)
        tried = self._try(engine, adapter.name, tokens=_TRIED_TOKENS)
        if self._policy.has_effect() and _reading(tried) == self._read_by_base:
            raise InvalidAdapter(
                f"{engine.client.named} loaded the policy's adapter and answers as if it had not.",
                hint="This version of vLLM does not know the layers of this model by the names that "
                "the trainer gives them. Sample in the process, on a CPU.",
            )
        trainer = self._policy.logprobs(self._residence.probe, tried.ids)
        differences = map(abs, map(sub, tried.logprobs, trainer))
        if (difference := fmean(differences)) > _MOST_DIFFERENCE:
            raise InvalidAdapter(
                f"{engine.client.named} is not the policy that is trained: the log-probabilities of "
                f"what it says differ by {difference:.2f} in the mean.",
                hint="It must serve this run's base model in the same revision, with "
                "--logprobs-mode processed_logprobs.",
            )

    def _try(self, engine: Engine, model: str, *, tokens: int) -> Completion:
        options = {
            "max_tokens": tokens,
            "temperature": self._rules.temperature,
            "seed": 0,
            "prompt_logprobs": 0,
        }
        seconds = _SECONDS + tokens * _SECONDS_PER_TOKEN
        return engine.client.complete(
            model, self._residence.probe, seconds=seconds, options=options
        )

    def _ask_all(self, requests: Sequence[Request]) -> list[Sampled | EngineUnavailable]:
        with ThreadPoolExecutor(max_workers=self._running().requests) as threads:
            try:
                return list(threads.map(self._ask, requests))
            finally:
                # One that is refused is a reason to send no more.
                threads.shutdown(cancel_futures=True)

    def _ask(self, request: Request) -> Sampled | EngineUnavailable:
        engine, adapter = self._running(), self._adapter
        model = engine.base if adapter is None else adapter.name
        seconds = _SECONDS + request.max_tokens * _SECONDS_PER_TOKEN
        options = request_options(request, self._rules)
        try:
            completion = engine.client.complete(
                model, request.ids, seconds=seconds, options=options
            )
        except EngineUnavailable as error:
            return error
        return to_sampled(completion, self._rules)


def request_options(request: Request, rules: Rules) -> dict[str, object]:
    """Return what a completion is asked for besides its prompt."""
    options: dict[str, object] = {
        "max_tokens": request.max_tokens,
        "temperature": rules.temperature,
        "seed": request.seed,
        "stop_token_ids": sorted(rules.stop_ids),
    }
    if rules.stop_sequences:
        options |= {"stop": list(rules.stop_sequences), "include_stop_str_in_output": True}
    if rules.structured_outputs is not None:
        options["structured_outputs"] = rules.structured_outputs.for_vllm()
    return options


def to_sampled(completion: Completion, rules: Rules) -> Sampled | EngineUnavailable:
    """Return a completion as a sampler's answer."""
    finish = _FINISHES.get(completion.finish)
    if finish is None or not completion.ids:
        return EngineUnavailable(f"vLLM ended an answer with {completion.finish!r}.")
    logprobs = completion.logprobs
    if rules.structured_outputs is not None:
        # vLLM only tells the distribution that the grammar has narrowed.
        logprobs = (math.nan,) * len(completion.ids)
    return Sampled(completion.ids, logprobs, finish)


def _reading(completion: Completion) -> tuple[float, ...]:
    return tuple(token.logprob for token in completion.read if token is not None)


def _given(answer: Sampled | EngineUnavailable) -> Sampled:
    if isinstance(answer, EngineUnavailable):
        raise answer
    return answer
