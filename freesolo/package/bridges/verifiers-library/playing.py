"""How a rollout of the library verifiers is played when the answers come from elsewhere.

The library plays a rollout in one go and asks a client for each answer. Here answers come one call at
a time, so every call plays the rollout from its beginning, with a client that writes the answers given
so far and leaves when it is asked for another. Nothing is kept between calls.
"""

import asyncio
import logging
import sys
import threading
from collections.abc import Coroutine, Iterator, Sequence
from contextvars import ContextVar
from copy import deepcopy
from dataclasses import dataclass
from typing import TypeVar

import verifiers as vf
from verifiers.types import Response, ResponseMessage, State
from verifiers.utils.message_utils import normalize_messages

Result = TypeVar("Result")

# What reward functions raised in the scoring under way; the library logs it, and takes it for a 0.
_raised: ContextVar[list[BaseException]] = ContextVar("raised")


class Asked(Exception):
    """The script is at its end, and the library asks for another answer."""

    def __init__(self, state: State, prompt: list[vf.types.Message]) -> None:
        super().__init__("The rollout goes on.")
        self.state, self.prompt = state, prompt


class Script(vf.OpenAIChatCompletionsClient):
    """A client that connects to nothing, and writes given answers."""

    def __init__(self, answers: Sequence[vf.types.AssistantMessage]) -> None:
        super().__init__(None)
        self._answers = iter(answers)

    async def get_response(
        self, prompt: list[vf.types.Message], model: str, *_: object, **context: object
    ) -> Response:
        """Return the next answer."""
        answer = next(self._answers, None)
        if answer is None:
            raise Asked(context["state"], prompt)
        message = ResponseMessage(
            content=answer.content,
            reasoning_content=answer.reasoning_content,
            finish_reason="stop",
            is_truncated=False,
        )
        return Response(id="script", created=0, model=model, message=message)


@dataclass(frozen=True)
class Rollout:
    """A rollout as far as it was played: all that was said, and whether the model is to go on."""

    state: State
    messages: list[vf.types.Message]
    goes_on: bool


@dataclass(frozen=True)
class Scored:
    """What the library's rubric says of a rollout."""

    reward: float
    metrics: dict[str, float]


async def play(
    environment: vf.MultiTurnEnv, row: dict[str, object], answers: Sequence[vf.types.Message]
) -> Rollout:
    """Play the rollout of a row with the answers given so far. Raise what the environment raised."""
    try:
        state = await environment.rollout(deepcopy(row), Script(answers), "script", {})
    except Asked as asked:
        return Rollout(asked.state, list(asked.prompt), goes_on=True)
    if state.get("error") is not None:
        raise state["error"]
    last = state["trajectory"][-1] if state["trajectory"] else None
    said = [*last["prompt"], *last["completion"]] if last else list(state["prompt"])
    said += normalize_messages(state.get("final_env_response") or [])
    return Rollout(state, said, goes_on=False)


async def score(environment: vf.MultiTurnEnv, rollout: Rollout) -> Scored:
    """Score a rollout. Raise what a reward function raised."""
    raised: list[BaseException] = []
    _raised.set(raised)
    await environment.rubric.score_rollout(rollout.state)
    await environment.rubric.cleanup(rollout.state)
    if raised:
        raise raised[0]
    return Scored(float(rollout.state["reward"]), dict(rollout.state["metrics"] or {}))


def rubrics_of(rubric: vf.Rubric) -> Iterator[vf.Rubric]:
    """Yield a rubric, and those that it is a group of."""
    yield rubric
    if isinstance(rubric, vf.RubricGroup):
        for part in rubric.rubrics:
            yield from rubrics_of(part)


class _Witness(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if error is not None:
            _raised.get([]).append(error)


def wait_for(work: Coroutine[object, object, Result]) -> Result:
    """Run `work` on the one event loop that all of the environment runs on; return its result."""
    return asyncio.run_coroutine_threadsafe(work, _loop).result()


logging.getLogger("verifiers").addHandler(_Witness(logging.ERROR))
_loop = asyncio.new_event_loop()
threading.Thread(target=_loop.run_forever, name="verifiers", daemon=True).start()
