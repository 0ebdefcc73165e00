"""The second shape of an evaluation suite: the one that the public command line reads.

Inside an environment host these names are in `flash.envs.evaluations` and
`flash.envs.meta.evaluations`, where its authors import them from. `freesolo.environments.grading`
makes one of both shapes. As everywhere in the contract, constructors neither convert nor check.
"""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class EvalCase:
    """One held-out question. What `metadata` holds becomes part of the example's record."""

    input: str
    expected: object | None = None
    id: str | None = None
    metadata: dict[str, Any] | None = None


@dataclass(frozen=True)
class EvalResult:
    """How an answer to a case was graded. With an `error` it was not, and cannot have passed."""

    case_id: str
    passed: bool
    score: float
    response: str
    reason: str | None = None
    error: str | None = None


class BaseEvalSuite:
    """A list of cases; an answer passes if the expected one is written in it.

    Define `cases`, and `score` for another judgement: it returns an `EvalResult`, a float or a
    bool. With `grades_episodes = True` each case is played to its end, and `score` gets the episode
    as third argument, `state`.
    """

    name: str = "evaluation"
    grades_episodes: bool = False

    def cases(self) -> list[EvalCase]:
        """Return the cases, always in the same order."""
        raise NotImplementedError

    def score(self, case: EvalCase, response: str) -> EvalResult | float | bool:
        """Grade an answer. A case that expects nothing is never passed."""
        gold = "" if case.expected is None else str(case.expected).strip()
        passed = gold != "" and gold in response
        return EvalResult(case.id or "case", passed, float(passed), response)
