"""Evaluation suites of both shapes as one: examples to ask, and answers or episodes to grade."""

import inspect
import numbers
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from freesolo.datasets.records import stable_example_id
from freesolo.datasets.types import TaskExample
from freesolo.environments.base import Environment, EnvironmentMultiTurn
from freesolo.environments.cases import example_of_case
from freesolo.environments.evaluations import (
    EvalSuite,
    Suite,
    has_evaluations,
    load_evaluation_suites,
)
from freesolo.environments.types import EnvironmentEpisode, RewardResult
from freesolo.environments.wrapper import EvaluatedEnvironment, PlayedEpisode, unwrapped


def held_out_suites(environment: Environment, folder: str | Path = ".") -> list["HeldOut"]:
    """Load the suites of the `evaluations.py` in `folder`, none if there is no such file.

    Its `load_evaluations(environment)` gets the environment as an `EvaluatedEnvironment`.
    """
    if not has_evaluations(folder):
        return []
    suites = load_evaluation_suites(
        str(Path(folder, "evaluations.py")), environment=EvaluatedEnvironment(environment)
    )
    return [HeldOut(suite, environment) for suite in suites]


class HeldOut(EvalSuite):
    """A suite of either shape, with examples as cases and a `RewardResult` for each answer.

    `environment` is the suite's own if it has one, else the one it was loaded with. If
    `grades_episodes` is true, each case is to be played to its end; otherwise one answer is graded,
    in a multi-turn environment that to the episode's opening.
    """

    def __init__(self, suite: Suite, environment: Environment) -> None:
        own = unwrapped(getattr(suite, "environment", None))
        self.environment = own if isinstance(own, Environment) else environment
        self.grades_episodes = bool(getattr(suite, "grades_episodes", False))
        self._suite = suite
        self._cases = [_held_out(case, index) for index, case in enumerate(suite.cases())]

    @property
    def name(self) -> str:
        """What the suite is called in reports."""
        return str(getattr(self._suite, "name", "") or type(self._suite).__name__)

    def cases(self) -> list[TaskExample]:
        """Return the cases as examples with ids, in their order."""
        return list(self._cases)

    def score(
        self, case: TaskExample, response_text: str, episode: EnvironmentEpisode | None = None
    ) -> RewardResult:
        """Grade an answer to one of `cases()`, or the episode that was played for it.

        Raise `ValueError` if a multi-turn episode is to be graded and there is none, and
        `TypeError` if the suite's verdict is none.
        """
        own = case.case if isinstance(case, _HeldOutExample) else case
        if not self.grades_episodes:
            return as_reward(self._suite.score(own, response_text))
        played = episode or self._answered(case, response_text)
        state = PlayedEpisode(**{**vars(played), "task": case})
        return as_reward(_score_with_state(self._suite.score, own, response_text, state))

    def _answered(self, example: TaskExample, answer: str) -> EnvironmentEpisode:
        if isinstance(self.environment, EnvironmentMultiTurn):
            raise ValueError(f"The suite {self.name!r} grades episodes, and none was played")
        opening = self.environment.start_episode(example, "")
        return EnvironmentEpisode((*opening, {"role": "assistant", "content": answer}), answer)


def as_reward(verdict: object) -> RewardResult:
    """Return a bool, a number or an `EvalResult` as a `RewardResult`; raise `TypeError` for others.

    A number passes if it is more than 0. Raise `RuntimeError` for an `EvalResult` with an error: the
    answer was not graded.
    """
    match verdict:
        case RewardResult():
            return verdict
        case bool():
            return RewardResult(float(verdict), success=verdict, return_type="binary")
        case numbers.Real():
            return RewardResult(float(verdict))
    if not (hasattr(verdict, "passed") and hasattr(verdict, "score")):
        raise TypeError(
            f"A suite's `score` returned {verdict!r:.80}, not a RewardResult, an EvalResult, "
            "a number or a bool"
        )
    if error := getattr(verdict, "error", None):
        raise RuntimeError(f"The suite could not grade the answer: {error}")
    reason = getattr(verdict, "reason", None)
    return RewardResult(verdict.score, success=verdict.passed, reason=reason)


@dataclass(frozen=True)
class _HeldOutExample(TaskExample):
    """A case as an example, and as its author made it."""

    case: object = None


def _held_out(case: object, index: int) -> _HeldOutExample:
    example = example_of_case(case)
    return _HeldOutExample(
        record=example.record,
        input=example.input,
        id=str(example.id or stable_example_id(index)),
        metadata=example.metadata,
        output=example.output,
        case=case,
    )


def _score_with_state(
    score: Callable[..., object], case: object, answer: str, state: PlayedEpisode
) -> object:
    """Hand over the episode by name, or by place, or not at all, as `score` can take it."""
    signature = inspect.signature(score)
    ways: list[tuple[tuple[object, ...], dict[str, object]]] = [
        ((case, answer), {"state": state}),
        ((case, answer, state), {}),
    ]
    for arguments, named in ways:
        try:
            signature.bind(*arguments, **named)
        except TypeError:
            continue
        return score(*arguments, **named)
    return score(case, answer)
