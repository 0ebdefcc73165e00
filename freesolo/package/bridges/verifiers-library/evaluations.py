"""Held-out suites: the environment's evaluation dataset, graded by its own rubric."""

from environment import MultiTurn, SingleTurn

from freesolo.environments import EnvironmentEpisode, EvalSuite, RewardResult


class HeldOut(EvalSuite):
    """Every row of the evaluation dataset, played to its end."""

    grades_episodes = True

    def __init__(self, environment: SingleTurn | MultiTurn) -> None:
        self.environment = environment
        self.rows = environment.held_out()

    @property
    def name(self) -> str:
        """What the suite is called in reports."""
        return "heldout"

    def cases(self) -> list[dict[str, object]]:
        """Return the rows."""
        return self.rows

    def score(
        self, case: dict[str, object], response_text: str, state: EnvironmentEpisode
    ) -> RewardResult:
        """Grade the episode that was played on a row."""
        return self.environment.score_episode(state.task, state)


def load_evaluations(environment: SingleTurn | MultiTurn) -> list[EvalSuite]:
    """Return the suite, none if the environment has no evaluation dataset."""
    suite = HeldOut(environment)
    return [suite] if suite.rows else []
