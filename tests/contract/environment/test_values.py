import math
from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from freesolo.datasets import Dataset, TaskExample
from freesolo.environments import (
    EnvironmentEpisode,
    EnvironmentStepResult,
    EnvironmentTurn,
    RewardMetric,
    RewardResult,
)
from freesolo.environments.answers import Answer, split_thinking
from tests.contract.environment.clauses import clause
from tests.contract.environment.test_environments import EXAMPLE, Echo


@clause("C2.3")
@pytest.mark.parametrize(
    ("result", "solved"),
    [
        (RewardResult(0.0, success=True), True),
        (RewardResult(1.0, error="timeout"), False),
        (RewardResult(0.5, threshold=0.5), True),
        (RewardResult(0.4, threshold=0.5), False),
        (RewardResult(0.1), True),
        (RewardResult(0.0), False),
        (RewardResult(math.nan), False),
    ],
)
def test_success_is_resolved_by_the_first_rule_that_applies(
    result: RewardResult, solved: bool
) -> None:
    assert result.resolved_success() is solved


@clause("C2.4")
@pytest.mark.parametrize(
    ("result", "value"),
    [
        (RewardResult(0.7), 0.7),
        (RewardResult(0.7, return_type="binary"), True),
        (RewardResult(0.7, return_type="binary", success=False), False),
        (RewardResult(0.7, value=0), 0),
        (RewardResult(0.7, value=""), ""),
    ],
)
def test_value_is_resolved_by_the_first_rule_that_applies(
    result: RewardResult, value: object
) -> None:
    assert result.resolved_value() == value


@clause("C2.2")
def test_constructors_keep_what_they_are_given() -> None:
    score: Any = "0.5"

    assert RewardResult(score).score is score


@clause("C2.5")
def test_a_turn_shows_only_what_is_set() -> None:
    turn = EnvironmentTurn("tool", "ok", name="search")

    assert turn.to_message() == {"role": "tool", "content": "ok"}
    assert turn.to_dict() == {"role": "tool", "content": "ok", "name": "search"}


@clause("C2.6")
def test_an_episode_shows_only_what_is_set_and_keeps_zero() -> None:
    message = {"role": "user", "content": "a", "name": "x"}
    episode = EnvironmentEpisode((message,), "b", total_tokens=0)

    assert episode.to_dict() == {
        "response_text": "b",
        "messages": [{"role": "user", "content": "a"}],
        "total_tokens": 0,
    }


FIELDS: dict[type[Any], dict[str, Any]] = {
    TaskExample: {"record": ..., "input": ..., "id": None, "metadata": {}, "output": None},
    Dataset: {"examples": ...},
    EnvironmentTurn: {"role": ..., "content": ..., "name": None, "metadata": {}},
    EnvironmentStepResult: {
        "done": True,
        "messages": (),
        "final_response_text": None,
        "metadata": {},
    },
    EnvironmentEpisode: {
        "messages": ...,
        "response_text": ...,
        "turns": (),
        "metadata": {},
        "latency_ms": None,
        "total_tokens": None,
    },
    RewardMetric: {
        "name": ...,
        "score": None,
        "value": None,
        "success": None,
        "threshold": None,
        "weight": None,
        "reason": None,
        "metadata": {},
    },
    RewardResult: {
        "score": ...,
        "metadata": {},
        "name": "environment_reward",
        "success": None,
        "threshold": None,
        "value": None,
        "reason": None,
        "error": None,
        "return_type": "numeric",
        "metrics": (),
        "latency_ms": None,
        "total_tokens": None,
    },
}


@clause("C2.1")
@pytest.mark.parametrize("kind", FIELDS)
def test_fields_have_their_order_and_defaults(kind: type[Any]) -> None:
    expected = FIELDS[kind]
    required = [name for name, default in expected.items() if default is ...]

    made = kind(*(object() for _ in required))

    assert list(vars(made)) == list(expected)
    assert {name: getattr(made, name) for name in expected if name not in required} == {
        name: default for name, default in expected.items() if default is not ...
    }


@clause("C2.2")
@pytest.mark.parametrize("kind", [kind for kind in FIELDS if ... in FIELDS[kind].values()])
def test_a_missing_argument_is_an_error(kind: type[Any]) -> None:
    with pytest.raises(TypeError):
        kind()


@clause("C2.2")
@pytest.mark.parametrize("score", [True, math.nan, None, "0.5"])
def test_no_score_is_refused_by_the_constructor(score: Any) -> None:  # noqa: ANN401
    assert RewardResult(score).score is score


@clause("C2.1", "C2.2")
@pytest.mark.parametrize("kind", FIELDS)
def test_values_are_frozen(kind: type[Any]) -> None:
    required = [default for default in FIELDS[kind].values() if default is ...]
    made = kind(*required)

    with pytest.raises(FrozenInstanceError):
        setattr(made, next(iter(FIELDS[kind])), "other")


@clause("C2.3")
def test_success_of_a_score_that_is_no_number_cannot_be_resolved() -> None:
    score: Any = "0.5"

    with pytest.raises(TypeError):
        RewardResult(score).resolved_success()


@clause("C2.5")
def test_a_turn_of_parts_keeps_them() -> None:
    parts = [{"type": "text", "text": "a"}]

    assert EnvironmentTurn("user", parts).to_dict() == {"role": "user", "content": parts}


@clause("C2.6")
def test_an_episode_shows_its_turns() -> None:
    episode = EnvironmentEpisode(
        (), "b", turns=(EnvironmentTurn("assistant", "b"),), metadata={"steps": [{}]}
    )

    assert episode.to_dict() == {
        "response_text": "b",
        "messages": [],
        "turns": [{"role": "assistant", "content": "b"}],
        "metadata": {"steps": [{}]},
    }


@clause("C2.8")
def test_a_thinking_answer_reaches_the_reward_whole() -> None:
    seen: list[str] = []

    class Recording(Echo):
        def normalize_response_text(self, example: TaskExample, text: str) -> str:
            return text

        def score_response(self, example: TaskExample, response_text: str) -> RewardResult:
            seen.append(response_text)
            return RewardResult(1.0)

    Recording().score_responses(EXAMPLE, [split_thinking("<think>so</think>42")])

    assert seen == ["42"]
    assert isinstance(seen[0], Answer)
    assert (seen[0].completion, seen[0].thinking, seen[0].raw) == (
        "42",
        "so",
        "<think>so</think>42",
    )
