import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freesolo.domain.train_tables import CreditAssignment
from training_backend.advantages import Credited, advantages

PER_TURN = CreditAssignment.PER_TURN

rewards = st.one_of(st.none(), st.floats(-10, 10))
groups = st.lists(st.builds(Credited, rewards, st.integers(1, 4)), min_size=1, max_size=8)


def alike(found: Sequence[tuple[float, ...]], expected: Sequence[tuple[float, ...]]) -> bool:
    return [pytest.approx(turns) for turns in expected] == list(found)


def test_a_rollout_is_compared_with_the_mean_of_its_group() -> None:
    group = [Credited(1.0, 1), Credited(0.0, 2), Credited(0.5, 1)]
    assert alike(advantages(group), [(0.5,), (-0.5, -0.5), (0.0,)])


def test_one_without_a_score_is_no_part_of_the_baseline_and_teaches_nothing() -> None:
    group = [Credited(1.0, 1), Credited(None, 2), Credited(0.0, 1)]
    assert alike(advantages(group), [(0.5,), (0.0, 0.0), (-0.5,)])


def test_a_group_with_one_score_tells_nothing() -> None:
    assert advantages([Credited(1.0, 1), Credited(None, 1)]) == [(0.0,), (0.0,)]


def test_a_turn_is_compared_with_the_siblings_that_have_one_of_its_number() -> None:
    group = [Credited(3.0, 2, (1.0, 2.0)), Credited(0.0, 1, (0.0,)), Credited(4.0, 2, (2.0, 4.0))]
    assert alike(advantages(group, PER_TURN), [(0.0, -1.0), (-1.0,), (1.0, 1.0)])


@pytest.mark.parametrize("turn_rewards", [None, (1.0,), (1.0, 2.0, 3.0)])
def test_a_member_without_rewards_by_turn_has_its_group_credited_by_episode(
    turn_rewards: tuple[float, ...] | None,
) -> None:
    group = [Credited(2.0, 2, (1.0, 1.0)), Credited(0.0, 2, turn_rewards)]
    assert advantages(group, PER_TURN) == [(1.0, 1.0), (-1.0, -1.0)]


def test_one_without_a_score_does_not_take_the_credit_of_turns_from_the_others() -> None:
    group = [Credited(2.0, 1, (2.0,)), Credited(None, 3), Credited(0.0, 1, (0.0,))]
    assert advantages(group, PER_TURN) == [(1.0,), (0.0, 0.0, 0.0), (-1.0,)]


@given(groups)
def test_what_a_group_gains_and_loses_cancels_out(group: list[Credited]) -> None:
    compared = advantages(group)
    assert [len(turns) for turns in compared] == [rollout.turns for rollout in group]
    assert math.isclose(sum(turns[0] for turns in compared), 0.0, abs_tol=1e-9)
