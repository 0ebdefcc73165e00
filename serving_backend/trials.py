"""What an engine says to a short question, and whether it says it in whatever company.

An engine holds many adapters and mixes their requests in one batch. A fault in how it keeps them apart
answers one tenant with another's adapter, and shows nowhere but in how likely its tokens are.
"""

import asyncio
import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from freesolo.domain.fingerprints import PLACES, Place, distance
from freesolo.errors import EngineUnavailable, InvalidAdapter
from serving_backend.engine import Document, Session

# How far two answers to the same may be apart, in nats. An engine computes in bfloat16, and in an order
# that depends on the batch. Measured with SmolLM2-135M on a CPU, the largest of three questions:
#
#   an adapter against its own fingerprint, five adapters of 2 to 24 steps      0.03 to 0.11
#   fifteen requests of four adapters and the base model, at once and alone     up to 0.06
#   the base model against the fingerprint, after 2 / 8 / 24 steps of dates     0.15 / 0.50 / 0.75
#   the base model against the fingerprint, after 2 / 8 steps of capitals       0.26 / 4.8
#   an adapter of one task against the fingerprint of the other                 0.17 to 6.5
ROUNDING = 0.25
# The most that an engine tells.
_TOLD = 20
_BY_ID = "token_id:"
_FINISHED = frozenset({"stop", "length"})

Heard = tuple[Place, ...]


@dataclass(frozen=True)
class Trial:
    """A question to a model of an engine, to be answered with thinking or without."""

    model: str
    question: str
    thinking: bool | None = None

    def body(self, tokens: int, **options: object) -> Document:
        """Return the request for so many tokens of the likeliest answer."""
        thinking = {"chat_template_kwargs": {"enable_thinking": self.thinking}}
        return {
            "model": self.model,
            "messages": [{"role": "user", "content": self.question}],
            "max_completion_tokens": tokens,
            "temperature": 0,
            # What is in the cache was computed in other company. Nothing of ours is there already.
            "cache_salt": uuid.uuid4().hex,
            **(thinking if self.thinking is not None else {}),
            **options,
        }


async def hear(session: Session, trial: Trial) -> Heard:
    """Return how likely the first tokens of an answer are. Raise `InvalidAdapter` for an odd answer."""
    answer = await session.complete(trial.body(PLACES, **_WITH_LOGPROBS), _request_id())
    _check(answer, trial.model)
    _check_usage(answer.get("usage"))
    choice = answer["choices"][0]
    _check_finish(choice["finish_reason"])
    return _something(_heard(choice["logprobs"]))


async def hear_streamed(session: Session, trial: Trial) -> Heard:
    """Return the same of a streamed answer."""
    body = trial.body(PLACES, **_WITH_LOGPROBS)
    body |= {"stream": True, "stream_options": {"include_usage": True}}
    heard: list[Place] = []
    finish = usage = None
    async with session.stream(body, _request_id()) as events:
        async for data in events:
            if data == "[DONE]":
                break
            chunk = json.loads(data)
            _check(chunk, trial.model)
            usage = chunk.get("usage") or usage
            for choice in chunk["choices"]:
                finish = choice.get("finish_reason") or finish
                if choice.get("logprobs"):
                    heard += _heard(choice["logprobs"])
    _check_usage(usage)
    _check_finish(finish)
    return _something(heard)


async def say(session: Session, trial: Trial, *, tokens: int, **options: object) -> str | None:
    """Return what a model answers, None if it did not come to an end within so many tokens."""
    answer = await session.complete(trial.body(tokens, **options), _request_id())
    _check(answer, trial.model)
    choice = answer["choices"][0]
    return choice["message"]["content"] if choice["finish_reason"] == "stop" else None


async def require_alike(
    session: Session,
    trials: Sequence[Trial],
    alone: Sequence[Heard],
    *,
    tolerance: float = ROUNDING,
) -> None:
    """Ask everything at once; raise `EngineUnavailable` unless all answer as they did alone."""
    together = await asyncio.gather(*(hear(session, trial) for trial in trials))
    for trial, before, now in zip(trials, alone, together, strict=True):
        if (gap := distance(before, now)) > tolerance:
            raise EngineUnavailable(
                f"The engine mixes adapters up: in one batch with others, {trial.model!r} answers "
                f"{gap:.2f} nats off what it answers alone.",
                hint="Its plugin `freesolo_cpu_lora` may not be loaded; the engine's log says.",
            )


_WITH_LOGPROBS: Mapping[str, object] = {
    "logprobs": True,
    "top_logprobs": _TOLD,
    "return_tokens_as_token_ids": True,
}


def _request_id() -> str:
    return f"trial-{uuid.uuid4().hex}"


def _heard(logprobs: Mapping[str, Any] | None) -> Heard:
    places = (logprobs or {}).get("content") or ()
    return tuple(
        Place(
            said=_token(place),
            likeliest={_token(entry): entry["logprob"] for entry in place["top_logprobs"]},
        )
        for place in places
    )


def _something(heard: Sequence[Place]) -> Heard:
    if not heard:
        raise InvalidAdapter("The adapter answered without telling how likely its tokens were.")
    return tuple(heard)


def _token(entry: Mapping[str, Any]) -> int:
    return int(entry["token"].removeprefix(_BY_ID))


def _check(answer: Document, model: str) -> None:
    if "error" in answer:
        raise EngineUnavailable("The engine failed in the middle of an answer.")
    if answer["model"] != model:
        raise InvalidAdapter(f"{answer['model']!r} answered in place of the adapter.")


def _check_usage(usage: Mapping[str, Any] | None) -> None:
    if not usage or not usage["completion_tokens"] or not usage["prompt_tokens"]:
        raise InvalidAdapter("The adapter answered with nothing, or without token counts.")
    if usage.get("prompt_tokens_details") is None:
        raise InvalidAdapter("The engine does not count the tokens that it had in its cache.")


def _check_finish(reason: str | None) -> None:
    if reason not in _FINISHED:
        raise InvalidAdapter(
            f"The adapter's answer ended with {reason!r}, which means nothing here."
        )
