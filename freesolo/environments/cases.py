"""The second shape of an evaluation suite: the one that the public command line reads.

Inside an environment host these names are in `flash.envs.evaluations` and
`flash.envs.meta.evaluations`, where its authors import them from. `freesolo.environments.grading`
makes one of both shapes. As everywhere in the contract, constructors neither convert nor check.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from freesolo.datasets.records import task_example_from_record
from freesolo.datasets.types import TaskExample


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


def example_of_case(case: object) -> TaskExample:
    """Read an example, a row, or a case of the second shape by its attributes, with the id it has.

    `flash` itself may be installed, with a class of its own. Raise `TypeError` for anything else.
    """
    if isinstance(case, TaskExample):
        return case
    if isinstance(case, dict):
        return _named(task_example_from_record(case), case.get("id"))
    if not hasattr(case, "input"):
        raise TypeError(f"A case must be a TaskExample, an EvalCase or a row, not {case!r:.80}")
    metadata: Mapping[str, Any] = getattr(case, "metadata", None) or {}
    record = {**metadata, "input": case.input, "output": getattr(case, "expected", None)}
    example = task_example_from_record(record)
    example = replace(example, metadata=example.metadata or dict(metadata))
    return _named(example, getattr(case, "id", None))


def _named(example: TaskExample, own_id: object) -> TaskExample:
    return replace(example, id=str(own_id) if own_id else None)
