"""What an environment host hands out, judged on the parent's side of the pipe.

The child runs an author's code, so nothing it says is taken on trust: shapes are checked here, and
what is wrong becomes `EnvironmentFailed`.
"""

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from freesolo.datasets.records import row_of, stable_example_id
from freesolo.datasets.types import Message, TaskExample
from freesolo.environments.types import EnvironmentEpisode
from freesolo.errors import EnvironmentFailed
from freesolo.runtime.host import answer_document, answer_of

# The key under which a reward's metadata credits the turns of an episode one by one.
PER_TURN_REWARDS = "per_turn_rewards"


@dataclass(frozen=True)
class Score:
    """A reward, or why there is none: an unscorable answer has `reward` None and an `error`.

    `raised` says whether the error is an exception of the author's code. `metadata` is what JSON can
    say of the reward's; its `per_turn_rewards` are one finite number for each action, or None. `note`
    says what was wrong with the metadata, if something was. `seconds` is how long the author's code took for the
    call in which it was made, in which others may have been made too.
    """

    reward: float | None
    success: bool | None
    error: EnvironmentFailed | None = None
    raised: bool = False
    metadata: Mapping[str, Any] = field(default_factory=dict)
    note: str | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class Step:
    """How the environment answered an action: `messages` are what it said, often nothing.

    `final_response_text` replaces the action as the text that is scored; None keeps the action.
    """

    done: bool
    messages: tuple[Message, ...]
    final_response_text: str | None
    metadata: Mapping[str, Any]


@dataclass(frozen=True)
class Case:
    """A held-out question: the messages to ask with, and the expected answer if there is one.

    A host plays episodes of a case as it does of an example.
    """

    suite: str
    index: int
    id: str
    messages: list[Message]
    expected: object | None


@dataclass(frozen=True)
class Suite:
    """A named list of cases. With `grades_episodes` each is to be played to its end."""

    name: str
    cases: tuple[Case, ...]
    grades_episodes: bool = False


@dataclass(frozen=True)
class Facts:
    """What a loaded environment is. `apart` are the calls whose items it scores one by one."""

    multi_turn: bool
    score_concurrency: int
    apart: tuple[str, ...]


def read_facts(value: object) -> Facts:
    """Check what a process says of the environment it has loaded."""
    match value:
        case {
            "multi_turn": bool() as multi_turn,
            "score_concurrency": int() as concurrency,
            "apart": list() as apart,
        }:
            return Facts(multi_turn, max(1, concurrency), tuple(map(str, apart)))
    raise _malformed("load")


def unscorable(error: EnvironmentFailed, *, raised: bool = False) -> Score:
    """Return the score of an answer that could not be scored."""
    return Score(reward=None, success=None, error=error, raised=raised)


def subject_of(example: TaskExample | Case) -> dict[str, object]:
    """Return how the child finds the author's own object for an example or a case.

    Raise `ValueError` for an example that is not of a host's dataset.
    """
    if isinstance(example, Case):
        return {"suite": example.suite, "index": example.index}
    return {"row": row_of(example), "question": example.input}


def episode_document(episode: EnvironmentEpisode) -> dict[str, object]:
    """Return an episode as JSON, with all that its messages hold."""
    return {
        "messages": list(episode.messages),
        "response_text": answer_document(episode.response_text),
        "turns": [vars(turn) for turn in episode.turns],
        "metadata": episode.metadata,
        "latency_ms": episode.latency_ms,
        "total_tokens": episode.total_tokens,
    }


def read_messages(value: object, method: str) -> list[Message]:
    """Check a list of chat messages that `method` returned."""
    if not isinstance(value, list) or not value:
        raise EnvironmentFailed(f"`{method}` returned no messages.")
    _check_messages(value, method)
    return value


def read_turns(value: object) -> int:
    """Check how often a model may act in an episode."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise EnvironmentFailed(
            f"`max_episode_turns` returned {value!r}.", hint="Return a whole number of at least 1."
        )
    return value


def read_step(value: object) -> Step:
    """Check how an environment answered an action."""
    match value:
        case {"unusable": str() as what}:
            raise EnvironmentFailed(f"`step_episode` returned {what}.")
        case {
            "done": bool() as done,
            "messages": list() as messages,
            "final_response_text": text,
            "metadata": dict() as metadata,
        }:
            _check_messages(messages, "step_episode")
            final = None if text is None else _read_answer(text, "step_episode")
            return Step(done, tuple(messages), final, metadata)
    raise _malformed("step_episode")


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


def read_scores(value: object, method: str, turns: Sequence[int]) -> list[Score]:
    """Check the rewards of as many answers as `turns` has, each on its own.

    `turns` says how many actions of the model led to each of them.
    """
    match value:
        case {"rewards": list() as rewards, "seconds": int() | float() as seconds}:
            pass
        case _:
            raise _malformed(method)
    if len(rewards) != len(turns):
        raise EnvironmentFailed(
            f"`{method}` returned {len(rewards)} rewards for {len(turns)} answers."
        )
    return [
        replace(read_score(reward, actions), seconds=float(seconds))
        for reward, actions in zip(rewards, turns, strict=True)
    ]


def read_score(value: object, actions: int) -> Score:
    """Check one reward; an unusable one makes its answer unscorable."""
    match value:
        case {
            "reward": float() as reward,
            "success": bool() as success,
            "metadata": dict() as metadata,
            "note": str() | None as note,
        } if math.isfinite(reward):
            credited, problem = _check_credit(metadata, actions)
            return Score(reward, success, metadata=credited, note=problem or note)
        case {"failed": str() as what}:
            return unscorable(
                EnvironmentFailed(
                    f"The reward reports an error: {what}",
                    hint="Of a bad answer, return a low score and a `reason`.",
                )
            )
        case {"unusable": str() as what}:
            return unscorable(
                EnvironmentFailed(
                    f"The reward returned {what}.",
                    hint="Return `RewardResult(score=...)` with a finite number.",
                )
            )
    return unscorable(_malformed("score"))


def _read_answer(value: object, method: str) -> str:
    match value:
        case str() | {"completion": str(), "thinking": str(), "raw": str()}:
            return answer_of(value)
    raise _malformed(method)


def _check_credit(metadata: dict[str, Any], actions: int) -> tuple[dict[str, Any], str | None]:
    """Return metadata whose `per_turn_rewards` can be used, and what was wrong if they could not."""
    credit = metadata.get(PER_TURN_REWARDS)
    if credit is None:
        return metadata, None
    problem = _credit_problem(credit, actions)
    if problem is None:
        return metadata, None
    note = f"`{PER_TURN_REWARDS}` {problem}, so they are not used."
    return {**metadata, PER_TURN_REWARDS: None}, note


def _credit_problem(credit: object, actions: int) -> str | None:
    if not isinstance(credit, list):
        return "are not a list"
    if len(credit) != actions:
        return f"are {len(credit)} for {actions} turns"
    for number in credit:
        if isinstance(number, bool) or not isinstance(number, int | float):
            return f"hold {number!r}"
        if not abs(number) <= sys.float_info.max:
            return f"hold {number:.5}" if isinstance(number, float) else "hold a vast number"
    return None


def _check_messages(messages: Sequence[object], method: str) -> None:
    for index, message in enumerate(messages):
        if problem := _message_problem(message):
            raise EnvironmentFailed(f"`{method}` returned a message {problem}, at index {index}.")


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


def _suite(item: object) -> Suite:
    match item:
        case {"name": str() as name, "cases": list() as cases, "grades_episodes": bool() as played}:
            found = tuple(_case(case, index, name) for index, case in enumerate(cases))
            return Suite(name, found, grades_episodes=played)
    raise _malformed("suites")


def _case(item: object, index: int, suite: str) -> Case:
    if not isinstance(item, dict):
        raise _malformed("cases")
    return Case(
        suite=suite,
        index=index,
        id=str(item.get("id") or stable_example_id(index)),
        messages=read_messages(item.get("messages"), f"start_episode (suite {suite})"),
        expected=item.get("expected"),
    )


def _malformed(what: str) -> EnvironmentFailed:
    return EnvironmentFailed(f"The environment's process answered `{what}` with something else.")
