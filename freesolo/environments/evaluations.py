"""Evaluation suites: held-out cases and how answers to them are graded."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol, TypeGuard

from freesolo.datasets.types import TaskExample
from freesolo.environments.base import Environment, EnvironmentSingleTurn
from freesolo.environments.cases import example_of_case
from freesolo.environments.loading import call_factory
from freesolo.environments.types import RewardResult
from freesolo.environments.wrapper import EvaluatedEnvironment, unwrapped

_DEFAULT_FILE = Path("freesolo", "evaluations.py")


class Suite(Protocol):
    """A suite of either shape; `HeldOut` makes one of both."""

    def cases(self) -> Iterable[object]:
        """Return the cases: examples, rows, or an `EvalCase` each."""
        ...

    @property
    def score(self) -> Callable[..., object]:
        """What grades an answer to a case."""
        ...


class EvalSuite(ABC):
    """A named list of cases with its own grading.

    With `grades_episodes = True` each case is played to its end, and `score` gets the episode as
    third argument, `state`: see `PlayedEpisode`.
    """

    grades_episodes: bool = False

    @property
    def name(self) -> str:
        """What the suite is called in reports."""
        return type(self).__name__

    @abstractmethod
    def cases(self) -> list[TaskExample]:
        """Return the cases, always in the same order."""

    @abstractmethod
    def score(self, case: TaskExample, response_text: str) -> RewardResult:
        """Grade an answer to `case`."""


class EnvironmentEvalSuite(EvalSuite):
    """Held-out cases graded by a single-turn environment's own reward, which gets them as examples."""

    def __init__(
        self,
        environment: Environment | EvaluatedEnvironment,
        cases: Iterable[object],
        *,
        name: str | None = None,
    ) -> None:
        own = unwrapped(environment)
        if not isinstance(own, EnvironmentSingleTurn):
            raise TypeError(
                f"EnvironmentEvalSuite needs a single-turn environment, not {type(own).__name__}"
            )
        self.environment = own
        self._cases = [example_of_case(case) for case in cases]
        self._name = (name or "").strip()

    @property
    def name(self) -> str:
        """What the suite is called in reports."""
        return self._name or type(self).__name__

    def cases(self) -> list[TaskExample]:
        """Return the cases."""
        return list(self._cases)

    def score(self, case: TaskExample, response_text: str) -> RewardResult:
        """Grade the normalised answer with the environment's reward."""
        text = self.environment.normalize_response_text(case, response_text)
        return self.environment.score_response(case, text)


def load_evaluation_suites(reference: str | None = None, **kwargs: object) -> list[Suite]:
    """Call `load_evaluations` of a module, as `load_environment` calls its own, for its suites.

    The factory returns one suite or several, of either shape: an `EvalSuite`, or any object with
    the methods `cases` and `score`. Raise `TypeError` for anything else.
    """
    result = call_factory(
        reference, kwargs, default_name="load_evaluations", default_file=_DEFAULT_FILE
    )
    if inspect.iscoroutine(result):
        result.close()
    if _is_suite(result):
        return [result]
    if not isinstance(result, Iterable) or isinstance(result, str | bytes):
        raise TypeError(f"load_evaluations returned {type(result).__name__}, not evaluation suites")
    suites = list(result)
    for suite in suites:
        if not _is_suite(suite):
            raise TypeError(f"load_evaluations returned {type(suite).__name__} among its suites")
    return suites


def has_evaluations(location: str | Path | None = None) -> bool:
    """Say whether there is an `evaluations.py` in a folder, or beside a `.py` file."""
    if location is None:
        return _DEFAULT_FILE.is_file()
    path = Path(location)
    folder = path.parent if path.suffix == ".py" else path
    return (folder / "evaluations.py").is_file()


def _is_suite(value: object) -> TypeGuard[Suite]:
    methods = (getattr(value, name, None) for name in ("cases", "score"))
    return not inspect.isclass(value) and all(map(callable, methods))
