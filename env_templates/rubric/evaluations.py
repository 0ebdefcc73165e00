"""Held-out suites: what `freesolo eval` asks, before and after training.

No row of a suite may be in the training data; `freesolo validate` warns if one is.
"""

from environment import DATASET, Replies, load_environment

from freesolo.datasets import TaskExample, load_dataset
from freesolo.environments import EnvironmentEvalSuite, EvalSuite, RewardResult


class Preferred(EvalSuite):
    """Asks whether a reply is better, by the rubric, than the one that was rejected."""

    def __init__(self, environment: Replies, cases: list[TaskExample]) -> None:
        self.environment = environment
        self._cases = cases

    @property
    def name(self) -> str:
        """What the suite is called in reports."""
        return "preferred"

    def cases(self) -> list[TaskExample]:
        """Return the cases; each has a rejected reply in its metadata."""
        return self._cases

    def score(self, case: TaskExample, response_text: str) -> RewardResult:
        """Give 1 for a better reply, a half for one that is as good, else 0."""
        reply = self.environment.score_response(case, response_text).score
        rejected = self.environment.score_response(case, case.metadata["rejected"]).score
        score = 0.5 if reply == rejected else float(reply > rejected)
        return RewardResult(score, success=reply > rejected)


def load_evaluations() -> list[EvalSuite]:
    """Return the suites: the rubric itself, and the pairwise comparison that it was made for."""
    environment = load_environment()
    cases = load_dataset(DATASET / "heldout.jsonl").examples
    return [
        EnvironmentEvalSuite(environment, cases, name="heldout"),
        Preferred(environment, cases),
    ]
