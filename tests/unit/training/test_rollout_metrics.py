"""What a step's rollouts say in numbers."""

import pytest

from freesolo.runtime.episodes import Ending, Transcript, Turn
from freesolo.runtime.values import Score
from training_backend.rollout_metrics import metrics_of, samples_of
from training_backend.rollouts import Place, Rollout, Spoken

PROMPT = ({"role": "user", "content": "say"},)


def rollout(
    group: int,
    reward: float | None = None,
    *,
    number: int = 0,
    turns: int = 1,
    ending: Ending = Ending.DONE,
) -> Rollout:
    """Return a rollout that reads a prompt of 5 tokens, and in each turn says 3 and hears 2."""
    transcript = Transcript("", PROMPT, 9, (Turn("a", None),) * turns, ending)
    marks = tuple(mark for turn in range(turns) for mark in (turn, turn, turn, -1, -1))
    spoken = Spoken((1,) * 5, (2,) * len(marks), marks, (-1.0,) * len(marks))
    return Rollout(
        Place(1, group, number),
        transcript,
        (spoken,) if turns else (),
        None if reward is None else Score(reward, success=reward >= 1),
    )


def unread(group: int) -> Rollout:
    return rollout(group, turns=0, ending=Ending.TRUNCATED)


def test_a_prompt_that_is_too_long_is_not_told_as_a_fault_of_the_reward() -> None:
    told = metrics_of([unread(0), unread(0), rollout(1, 1.0), rollout(1)], [()] * 4)

    assert told["rollout/unread_frac"] == 0.5
    assert told["rollout/unscorable_frac"] == 0.5


def test_where_nothing_was_read_nothing_is_said_of_scores() -> None:
    assert "rollout/unscorable_frac" not in metrics_of([unread(0)], [()])


def test_a_step_tells_how_many_groups_are_of_use() -> None:
    rewards = {0: (1.0, 1.0), 1: (0.0, 0.2), 2: (0.0, 1.0), 3: (0.5, 1.0)}
    rollouts = [rollout(group, reward) for group in rewards for reward in rewards[group]]

    told = metrics_of([*rollouts, unread(4)], [()] * 9)

    assert told["by_group/frac_all_good"] == 0.25
    assert told["by_group/frac_all_bad"] == 0.25
    assert told["by_group/frac_mixed"] == 0.5


def test_a_step_tells_where_rewards_and_advantages_lie() -> None:
    rollouts = [rollout(0, reward / 10, number=reward) for reward in range(11)]

    told = metrics_of(rollouts, [(-0.5, 0.25), (), *[(0.0,)] * 9])

    assert (told["reward/p10"], told["reward/p90"]) == pytest.approx((0.1, 0.9))
    assert (told["advantage/min"], told["advantage/max"]) == (-0.5, 0.25)
    (alone,) = (metrics_of([rollout(0, 0.5)], [()]),)
    assert alone["reward/p10"] == alone["reward/p90"] == 0.5
    assert "advantage/min" not in alone


def test_a_step_tells_how_much_is_said_and_read_in_a_turn() -> None:
    told = metrics_of([rollout(0, 1.0), rollout(0, 1.0, turns=3)], [()] * 2)

    assert told["ac_tokens_per_turn"] == 3
    assert told["ob_tokens_per_turn"] == (5 + 2 + 5 + 6) / 4


def test_a_sample_shows_the_advantage_of_what_was_learned_alone() -> None:
    shown = samples_of([rollout(0, 1.0), rollout(0, 1.0)], [(0.5,), ()], [7, 7])

    assert [sample.advantage for sample in shown] == [0.5, None]
