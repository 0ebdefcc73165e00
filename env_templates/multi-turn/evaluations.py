"""Held-out suites: what `freesolo eval` asks, before and after training.

No row of a suite may be in the training data; `freesolo validate` warns if one is.
"""

from environment import load_environment

from freesolo.datasets import TaskExample
from freesolo.environments import EnvironmentEpisode, EvalSuite, RewardResult


class HeldOut(EvalSuite):
    """Plays every held-out game to its end; the environment's own reward is the grade."""

    grades_episodes = True

    def __init__(self) -> None:
        self.environment = load_environment("heldout")

    @property
    def name(self) -> str:
        """What the suite is called in reports."""
        return "heldout"

    def cases(self) -> list[TaskExample]:
        """Return the cases."""
        return self.environment.dataset

    def score(
        self, case: TaskExample, response_text: str, state: EnvironmentEpisode
    ) -> RewardResult:
        """Grade the episode that was played; `response_text` is its last action."""
        return self.environment.score_episode(case, state)


def load_evaluations() -> list[EvalSuite]:
    """Return the suites."""
    return [HeldOut()]
