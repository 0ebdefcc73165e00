"""The environment as `load_evaluations(environment)` gets it, graded through rows and played episodes."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from freesolo.datasets.records import task_example_from_record
from freesolo.datasets.types import TaskExample
from freesolo.environments.base import Environment, EnvironmentMultiTurn
from freesolo.environments.types import EnvironmentEpisode, RewardResult


@dataclass(frozen=True)
class PlayedEpisode(EnvironmentEpisode, Mapping[str, Any]):
    """A played episode as a suite gets it: an episode, and a mapping with the keys of a rollout.

    `state.messages` and `state["messages"]` hold the same. `task` is the example it was played on.
    """

    task: TaskExample | None = None

    def __getitem__(self, key: str) -> Any:  # noqa: ANN401 - of the key's kind
        return self._rollout()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._rollout())

    def __len__(self) -> int:
        return len(self._rollout())

    def _rollout(self) -> dict[str, Any]:
        return {
            "task": self.task,
            "messages": list(self.messages),
            "turns": list(self.turns),
            "response_text": self.response_text,
            "step_metadata": list(self.metadata.get("steps", ())),
            "done": True,
        }


class EvaluatedEnvironment:
    """An environment, all of whose own attributes this has too, and its reward by rows.

    `_env` is the environment itself.
    """

    def __init__(self, environment: Environment) -> None:
        self._env = environment
        self.multi_turn = isinstance(environment, EnvironmentMultiTurn)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - the author's attribute
        if name == "_env":
            raise AttributeError(name)
        return getattr(self._env, name)

    def reward_with_error(
        self, response: str, example: Mapping[str, Any], state: Mapping[str, Any] | None = None
    ) -> tuple[float, str, str]:
        """Score once; return the score, the reward's error or '', and the text that was scored.

        `example` is a row. Of a multi-turn environment the episode in `state` is scored, and
        otherwise the answer.
        """
        result, text = self._scored(response, example, state)
        return float(result.score), result.error or "", text

    def reward(
        self, response: str, example: Mapping[str, Any], state: Mapping[str, Any] | None = None
    ) -> float:
        """Return the score alone. Raise `RuntimeError` if the reward reports an error."""
        return float(self._graded(response, example, state).score)

    def grade(
        self, response: str, example: Mapping[str, Any], state: Mapping[str, Any] | None = None
    ) -> bool:
        """Say whether the answer solves the task, by the reward's own rule; raise as `reward` does."""
        return bool(self._graded(response, example, state).resolved_success())

    def _graded(
        self, response: str, example: Mapping[str, Any], state: Mapping[str, Any] | None
    ) -> RewardResult:
        result, _ = self._scored(response, example, state)
        if result.error:
            raise RuntimeError(f"The reward reports an error: {result.error}")
        return result

    def _scored(
        self, response: str, example: Mapping[str, Any], state: Mapping[str, Any] | None
    ) -> tuple[RewardResult, str]:
        if state and self.multi_turn:
            task = state.get("task") or task_example_from_record(dict(example))
            episode = _episode(state)
            (result,) = self._env.score_episodes(task, [episode])
            return result, episode.response_text
        (result,) = self._env.score_responses(task_example_from_record(dict(example)), [response])
        return result, response


def unwrapped(environment: object) -> object:
    """Return the environment itself, whether it is wrapped or not."""
    return environment._env if isinstance(environment, EvaluatedEnvironment) else environment  # noqa: SLF001 - the contract's name


def _episode(state: Mapping[str, Any]) -> EnvironmentEpisode:
    if isinstance(state, EnvironmentEpisode):
        return state
    steps = list(state.get("step_metadata") or ())
    return EnvironmentEpisode(
        messages=tuple(state.get("messages") or ()),
        response_text=state.get("response_text") or "",
        turns=tuple(state.get("turns") or ()),
        metadata={"steps": steps} if steps else {},
    )
