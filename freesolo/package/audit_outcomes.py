"""What a reward said of the rows that it was asked about."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from freesolo.package.perturbations import Kind, Perturbation
from freesolo.runtime.values import Score

# A reward that takes more of the other rows' gold answers does not look at what they say.
_LARGEST_SHARE_RIGHT = 0.75


@dataclass(frozen=True)
class Tried:
    """An answer other than the gold one, and its score."""

    answer: Perturbation
    score: Score


@dataclass(frozen=True)
class Outcome:
    """What the reward said about one row: of its gold answer, twice, and of other answers.

    `gold`, `first` and `again` are None where a row has no gold answer; `again` also after a
    failure. `strayed` says what of an episode was another when its actions were taken again.
    """

    row: int
    gold: str | None
    first: Score | None
    again: Score | None
    tried: Sequence[Tried]
    strayed: str | None = None

    @property
    def gold_rewards(self) -> list[float | None]:
        """The reward of the gold answer each time that it was asked for."""
        return [score.reward for score in (self.first, self.again) if score is not None]

    @property
    def tried_rewards(self) -> list[float | None]:
        """The rewards of the other answers."""
        return [tried.score.reward for tried in self.tried]

    @property
    def gold_reward(self) -> float | None:
        """The reward of the gold answer, None if there is none."""
        return self.first.reward if self.first else None

    @property
    def gold_failed(self) -> bool:
        """Whether the gold answer could not be scored."""
        return self.first is not None and self.first.error is not None

    @property
    def gold_wins(self) -> bool:
        """Whether the gold answer got more than some wrong one."""
        gold = self.gold_reward
        return gold is not None and any(gold > reward for _, reward in self.wrong)

    @property
    def wrong(self) -> list[tuple[Perturbation, float]]:
        """The surely wrong answers that could be scored."""
        return [
            (tried.answer, tried.score.reward)
            for tried in self.tried
            if tried.answer.wrong and tried.score.reward is not None
        ]

    @property
    def credited(self) -> bool:
        """Whether the gold answer got something: a reward, a success, or more than all others."""
        if self.first is None or self.first.reward is None:
            return False
        beats = bool(self.wrong) and all(self.first.reward > reward for _, reward in self.wrong)
        return self.first.reward > 0 or bool(self.first.success) or beats


def with_other_right_answers(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Return outcomes in which a gold answer of another row is not wrong if it may well be right.

    Where nearly each row has an answer of its own ("a prime above 20"), a question may have several
    right ones. There a reward is believed which takes some of the other gold answers and refuses
    others; where rows share a few labels, only one of those is right.
    """
    golds = [outcome.gold.strip().casefold() for outcome in outcomes if outcome.gold is not None]
    taken = [_is_taken(outcome, tried) for outcome in outcomes for tried in outcome.tried]
    asked = [tried for outcome in outcomes for tried in outcome.tried if _is_other_gold(tried)]
    are_labels = 2 * len(set(golds)) <= len(golds)
    if are_labels or sum(taken) > _LARGEST_SHARE_RIGHT * len(asked):
        return list(outcomes)
    return [
        replace(
            outcome,
            tried=[
                replace(
                    tried, answer=Perturbation(Kind.OTHER_RIGHT, tried.answer.text, wrong=False)
                )
                if _is_taken(outcome, tried)
                else tried
                for tried in outcome.tried
            ],
        )
        for outcome in outcomes
    ]


def _is_other_gold(tried: Tried) -> bool:
    return tried.answer.kind is Kind.OTHER_GOLD and tried.score.reward is not None


def _is_taken(outcome: Outcome, tried: Tried) -> bool:
    reward, gold = tried.score.reward, outcome.gold_reward
    if not _is_other_gold(tried) or reward is None or gold is None:
        return False
    return reward >= gold and outcome.credited


def same_rewards(first: Sequence[float | None], second: Sequence[float | None]) -> bool:
    """Say whether two series of rewards are the same but for rounding."""
    if len(first) != len(second):
        return False
    return all(
        one == other
        if one is None or other is None
        else math.isclose(one, other, rel_tol=1e-6, abs_tol=1e-9)
        for one, other in zip(first, second, strict=True)
    )
