"""Whether a loaded adapter answers as itself: a few short requests before its alias moves."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from freesolo.domain.fingerprints import QUESTIONS, Fingerprint, distance
from freesolo.errors import EngineUnavailable, InvalidAdapter
from serving_backend.engine import BASE_MODEL, Session
from serving_backend.trials import (
    ROUNDING,
    Heard,
    Trial,
    hear,
    hear_streamed,
    require_alike,
    say,
)

_SMOKE_SECONDS = 300.0
# Room for an answer in its form, and for thinking before it.
_FORM_TOKENS = 512
_THINKING_TOKENS = 2048


@dataclass(frozen=True)
class Trained:
    """How an adapter was trained to answer, and what it answered then, if that was noted."""

    thinking: bool | None = None
    structured_outputs: Mapping[str, JsonValue] | None = None
    fingerprint: Fingerprint | None = None

    @property
    def questions(self) -> Sequence[str]:
        """What the adapter is asked."""
        if self.fingerprint is None:
            return QUESTIONS
        return [answer.question for answer in self.fingerprint.answers]


async def smoke(session: Session, name: str, trained: Trained) -> None:
    """Ask the adapter `name` a few short things; raise `InvalidAdapter` unless it answers as itself.

    Raise `EngineUnavailable` if the engine mixes it up with others, or does not answer in time.
    """
    try:
        async with asyncio.timeout(_SMOKE_SECONDS):
            await _require_itself(session, name, trained)
            if trained.structured_outputs is not None:
                await _require_form(session, name, trained, trained.structured_outputs)
    except TimeoutError:
        raise EngineUnavailable(
            f"The engine did not answer a few short questions within {_SMOKE_SECONDS:.0f} s.",
            hint="Deploy again when it has less to do.",
        ) from None


async def _require_itself(session: Session, name: str, trained: Trained) -> None:
    trials = [
        Trial(model, question, trained.thinking)
        for model in (BASE_MODEL, name)
        for question in trained.questions
    ]
    alone = [await hear(session, trial) for trial in trials]
    count = len(trained.questions)
    base, own = alone[:count], alone[count:]
    if own == base:
        # What an engine does, silently, with an adapter whose tensors fit none of its modules.
        raise InvalidAdapter(
            "The adapter has no effect: it answers exactly as its base model does.",
            hint="Its tensors may be all zero, or made for another model.",
        )
    if trained.fingerprint is not None:
        _require_fingerprint(trained.fingerprint, own)
    await require_alike(session, trials, alone)
    streamed = await hear_streamed(session, trials[count])
    if (gap := distance(own[0], streamed)) > ROUNDING:
        raise InvalidAdapter(f"Streamed, the adapter answers {gap:.2f} nats off its whole answer.")


def _require_fingerprint(fingerprint: Fingerprint, own: Sequence[Heard]) -> None:
    gaps = (
        distance(noted.places, heard) for noted, heard in zip(fingerprint.answers, own, strict=True)
    )
    gap = max(gaps)
    if gap > ROUNDING:
        raise InvalidAdapter(
            f"The adapter does not answer as it did when it was trained: {gap:.2f} nats off, where "
            f"up to {ROUNDING} is rounding.",
            hint="Another adapter or base model may have answered, or another chat template.",
        )


async def _require_form(
    session: Session, name: str, trained: Trained, form: Mapping[str, JsonValue]
) -> None:
    wanted = _FORM_TOKENS + (_THINKING_TOKENS if trained.thinking else 0)
    # The questions are short, but a model's context may be too.
    tokens = min(wanted, await session.context() // 2)
    answers = [
        asyncio.create_task(
            say(
                session,
                Trial(name, question, trained.thinking),
                tokens=tokens,
                structured_outputs=form,
            )
        )
        for question in trained.questions
    ]
    try:
        # One shows it. Others may run on to their limit, as answers with open lists do.
        for answer in asyncio.as_completed(answers):
            text = await answer
            if text is not None and has_form(text, form):
                return
    finally:
        for task in answers:
            task.cancel()
        await asyncio.gather(*answers, return_exceptions=True)
    raise InvalidAdapter(
        f"The adapter's answers are not in the form of its `structured_outputs`, within {tokens} "
        "tokens.",
        hint="Give it a form whose answers end, such as a schema without open lists.",
    )


def has_form(text: str, form: Mapping[str, JsonValue]) -> bool:
    """Say whether an answer is what `form`, in vLLM's words, asks for, as far as is cheap to tell."""
    choices = form.get("choice")
    if isinstance(choices, list):
        return text in choices
    if "json" in form or "json_object" in form:
        try:
            json.loads(text)
        except (ValueError, RecursionError):
            return False
        return True
    # A pattern of a stranger's might take for ever to try.
    return bool(text)
