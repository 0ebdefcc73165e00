"""Evaluation suites of both shapes as one: examples to ask, and answers or episodes to grade."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from freesolo.datasets.records import stable_example_id, task_example_from_record
from freesolo.datasets.types import TaskExample
from freesolo.environments.base import Environment, EnvironmentMultiTurn
from freesolo.environments.evaluations import EvalSuite, has_evaluations, load_evaluation_suites
from freesolo.environments.types import EnvironmentEpisode, RewardResult
from freesolo.environments.wrapper import EpisodeState, EvaluatedEnvironment, unwrapped


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


class HeldOut:
    """A suite of either shape. `examples` are its cases as a model is asked them, in their order.

    `environment` is the suite's own if it has one, else the one it was loaded with. If
    `grades_episodes` is true, each case is to be played to its end; otherwise one answer is graded,
    in a multi-turn environment that to the episode's opening.
    """

    def __init__(self, suite: EvalSuite, environment: Environment) -> None:
        own = unwrapped(getattr(suite, "environment", None))
        self.environment = own if isinstance(own, Environment) else environment
        self.name = str(getattr(suite, "name", "") or type(suite).__name__)
        self.grades_episodes = bool(getattr(suite, "grades_episodes", False))
        self._suite = suite
        self._cases: list[object] = list(suite.cases())
        self.examples = [as_example(case, index) for index, case in enumerate(self._cases)]

    def score(self, index: int, answer: str, episode: EnvironmentEpisode | None = None) -> object:
        """Grade an answer to the case at `index`, or the episode that was played for it.

        What the suite returns becomes a `RewardResult` where it can; the caller judges the rest.
        Raise `ValueError` if a multi-turn episode is to be graded and there is none.
        """
        case, score = self._cases[index], self._suite.score
        if not self.grades_episodes:
            return as_reward(score(case, answer))  # type: ignore[arg-type]
        example = self.examples[index]
        state = EpisodeState(example, episode or self._answered(example, answer))
        return as_reward(_score_with_state(score, case, answer, state))

    def _answered(self, example: TaskExample, answer: str) -> EnvironmentEpisode:
        if isinstance(self.environment, EnvironmentMultiTurn):
            raise ValueError(f"The suite {self.name!r} grades episodes, and none was played")
        opening = self.environment.start_episode(example, "")
        return EnvironmentEpisode((*opening, {"role": "assistant", "content": answer}), answer)


def as_example(case: object, index: int) -> TaskExample:
    """Return a case, an example, a row or a case of the second shape, as an example with an id."""
    match case:
        case TaskExample():
            example = case
        case {"input": _}:
            example = task_example_from_record(case)
        case _:
            example = _example_of_case(case)
    own_id = case.get("id") if isinstance(case, dict) else getattr(case, "id", None)
    return replace(example, id=str(own_id) if own_id else stable_example_id(index))


def as_reward(result: object) -> object:
    """Return a bool, a number or an `EvalResult` as a `RewardResult`, and anything else as it is."""
    match result:
        case bool():
            return RewardResult(float(result), success=result, return_type="binary")
        case int() | float():
            return RewardResult(float(result))
        case RewardResult():
            return result
    if hasattr(result, "passed") and hasattr(result, "score"):
        return RewardResult(
            result.score,
            success=result.passed,
            reason=getattr(result, "reason", None),
            error=getattr(result, "error", None),
        )
    return result


def _example_of_case(case: object) -> TaskExample:
    """Read a case by its attributes: `flash` itself may be installed, with a class of its own."""
    if not hasattr(case, "input"):
        raise TypeError(f"A case must be a TaskExample, an EvalCase or a row, not {case!r:.80}")
    metadata: Mapping[str, Any] = getattr(case, "metadata", None) or {}
    output = getattr(case, "expected", None)
    example = task_example_from_record({**metadata, "input": case.input, "output": output})
    return replace(example, metadata=example.metadata or dict(metadata))


def _score_with_state(
    score: Callable[..., object], case: object, answer: str, state: EpisodeState
) -> object:
    """Hand over the episode by name, or by place, or not at all, as `score` can take it."""
    signature = inspect.signature(score)
    for arguments, named in (((case, answer), {"state": state}), ((case, answer, state), {})):
        try:
            signature.bind(*arguments, **named)
        except TypeError:
            continue
        return score(*arguments, **named)
    return score(case, answer)
