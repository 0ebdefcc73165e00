"""What an environment host hands out, judged on the parent's side of the pipe.

The child runs an author's code, so nothing it says is taken on trust: shapes are checked here, and
what is wrong becomes `EnvironmentFailed`.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

from freesolo.datasets.records import stable_example_id
from freesolo.datasets.types import Message, TaskExample
from freesolo.errors import EnvironmentFailed


@dataclass(frozen=True)
class Score:
    """A reward, or why there is none: an unscorable answer has `reward` None and an `error`.

    `raised` says whether the error is an exception of the author's code.
    """

    reward: float | None
    success: bool | None
    error: EnvironmentFailed | None = None
    raised: bool = False


@dataclass(frozen=True)
class Case:
    """A held-out question: the messages to ask with, and the expected answer if there is one."""

    index: int
    id: str
    messages: list[Message]
    expected: object | None


@dataclass(frozen=True)
class Suite:
    """A named list of cases."""

    name: str
    cases: tuple[Case, ...]


def unscorable(error: EnvironmentFailed, *, raised: bool = False) -> Score:
    """Return the score of an answer that could not be scored."""
    return Score(reward=None, success=None, error=error, raised=raised)


def read_messages(value: object, method: str) -> list[Message]:
    """Check a list of chat messages that `method` returned."""
    if not isinstance(value, list) or not value:
        raise EnvironmentFailed(f"`{method}` returned no messages.")
    for index, message in enumerate(value):
        if problem := _message_problem(message):
            raise EnvironmentFailed(f"`{method}` returned a message {problem}, at index {index}.")
    return value


def read_page(value: object, start: int) -> tuple[list[TaskExample], int]:
    """Check a page of a dataset's rows from `start` on; return them and how many there are in all.

    Raise `EnvironmentFailed` if the page is empty.
    """
    match value:
        case {"rows": [], "total": 0}:
            raise EnvironmentFailed(
                "The environment's dataset is empty.", hint="Put at least one row into `dataset`."
            )
        case {"rows": [_, *_] as rows, "total": int() as total}:
            return [_example(item, row) for row, item in enumerate(rows, start)], total
    raise _malformed("examples")


def read_suites(value: object) -> list[Suite]:
    """Check evaluation suites and their cases."""
    if not isinstance(value, list):
        raise _malformed("suites")
    suites = [_suite(item) for item in value]
    names = [suite.name for suite in suites]
    if len(set(names)) < len(names):
        raise EnvironmentFailed(
            f"Two evaluation suites share a name among {', '.join(names)}.",
            hint="Give each suite a `name` of its own.",
        )
    return suites


def read_scores(value: object, expected: int) -> list[Score]:
    """Check the rewards of `expected` answers, each on its own."""
    if not isinstance(value, list):
        raise _malformed("score_responses")
    if len(value) != expected:
        raise EnvironmentFailed(
            f"`score_responses` returned {len(value)} rewards for {expected} answers."
        )
    return [read_score(item) for item in value]


def read_score(value: object) -> Score:
    """Check one reward; an unusable one makes its answer unscorable."""
    match value:
        case {"reward": float() as reward, "success": bool() as success} if math.isfinite(reward):
            return Score(reward=reward, success=success)
        case {"unusable": str() as what}:
            return unscorable(
                EnvironmentFailed(
                    f"The reward returned {what}.",
                    hint="Return `RewardResult(score=...)` with a finite number.",
                )
            )
    return unscorable(_malformed("score"))


def _message_problem(message: object) -> str | None:
    if not isinstance(message, dict):
        return "that is not an object"
    role = message.get("role")
    if not isinstance(role, str) or not role.strip():
        return "without a role"
    content = message.get("content")
    if content is None and message.get("tool_calls"):
        return None
    if not isinstance(content, str | list):
        return "whose content is neither text nor parts"
    return None


def _example(item: Any, row: int) -> TaskExample:  # noqa: ANN401 - JSON of the child
    try:
        return replace(TaskExample(**item), id=stable_example_id(row))
    except TypeError:
        raise _malformed("examples") from None


def _suite(item: object) -> Suite:
    match item:
        case {"name": str() as name, "cases": list() as cases}:
            return Suite(name, tuple(_case(case, index, name) for index, case in enumerate(cases)))
    raise _malformed("suites")


def _case(item: object, index: int, suite: str) -> Case:
    if not isinstance(item, dict):
        raise _malformed("cases")
    return Case(
        index=index,
        id=str(item.get("id") or stable_example_id(index)),
        messages=read_messages(item.get("messages"), f"start_episode (suite {suite})"),
        expected=item.get("expected"),
    )


def _malformed(what: str) -> EnvironmentFailed:
    return EnvironmentFailed(f"The environment's process answered `{what}` with something else.")
