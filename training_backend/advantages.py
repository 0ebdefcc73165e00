"""How much better than its siblings each turn of a rollout was (pure).

Advantages are centred on the group's mean and not divided by its spread: dividing by it weighs
prompts by how sure the group was of them (Z. Liu et al., "Understanding R1-Zero-like training", 2025).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from freesolo.domain.train_tables import CreditAssignment


@dataclass(frozen=True)
class Credited:
    """One rollout of a group, as far as credit goes. `reward` is None for one that has no score.

    `turn_rewards` holds a number for each of its `turns`, or is None if the reward gave none.
    """

    reward: float | None
    turns: int
    turn_rewards: Sequence[float] | None = None


def advantages(
    group: Sequence[Credited], credit: CreditAssignment = CreditAssignment.PER_EPISODE
) -> list[tuple[float, ...]]:
    """Return the advantage of every turn of every rollout in a group, all zero where nothing tells.

    A rollout without a score is no part of the baseline and gets zeros; so does everybody where
    fewer than two have one. With `PER_TURN` the baseline of a turn is the mean over the siblings
    that have one of its number; if any lacks its rewards by turn, the whole group is credited by
    episode.
    """
    scored = [rollout for rollout in group if rollout.reward is not None]
    if len(scored) < 2:
        return [(0.0,) * rollout.turns for rollout in group]
    if credit is CreditAssignment.PER_TURN and all(map(_has_turn_rewards, scored)):
        return _by_turn(group, scored)
    baseline = fmean(rollout.reward for rollout in scored if rollout.reward is not None)
    return [
        (0.0 if rollout.reward is None else rollout.reward - baseline,) * rollout.turns
        for rollout in group
    ]


def _has_turn_rewards(rollout: Credited) -> bool:
    return rollout.turn_rewards is not None and len(rollout.turn_rewards) == rollout.turns


def _by_turn(group: Sequence[Credited], scored: Sequence[Credited]) -> list[tuple[float, ...]]:
    longest = max(rollout.turns for rollout in scored)
    baselines = [
        fmean(
            rollout.turn_rewards[turn]
            for rollout in scored
            if rollout.turn_rewards is not None and turn < rollout.turns
        )
        for turn in range(longest)
    ]
    return [
        (0.0,) * rollout.turns
        if rollout.reward is None or rollout.turn_rewards is None
        else tuple(
            reward - baseline
            for reward, baseline in zip(rollout.turn_rewards, baselines, strict=False)
        )
        for rollout in group
    ]
