import math
from typing import Any

import pytest

from freesolo.environments import EnvironmentEpisode, EnvironmentTurn, RewardResult
from tests.contract.environment.clauses import clause


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
