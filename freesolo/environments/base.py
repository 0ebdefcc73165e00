"""The classes that an environment is written against.

Subclass `EnvironmentSingleTurn` for a task of one answer, `EnvironmentMultiTurn` for one in which
the environment answers back. Every method is an ordinary one: nothing is awaited.
"""

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from freesolo.contracts import ContractSpec, build_oracle_messages
from freesolo.datasets import target_messages
from freesolo.datasets.types import Message, TaskExample
from freesolo.environments.types import (
    EnvironmentEpisode,
    EnvironmentStepResult,
    RewardResult,
)

Item = TypeVar("Item")

_pool_creation = threading.Lock()


class Environment(ABC):
    """What both kinds of environment have in common; never subclass it directly.

    By convention an environment keeps its rows in the attribute `dataset`. At most
    `max_score_concurrency` answers are scored at once, whoever asks; at 1 or less they are scored
    one after another on the caller's own thread.
    """

    max_score_concurrency: int = 32

    @abstractmethod
    def build_prompt_messages(self, example: TaskExample, prompt_text: str) -> list[Message]:
        """Return the messages that the model is asked with."""

    @abstractmethod
    def start_episode(self, example: TaskExample, prompt_text: str) -> list[Message]:
        """Return the messages that an episode begins with."""

    @abstractmethod
    def max_episode_turns(self, example: TaskExample) -> int:
        """Return how often the model may act."""

    @abstractmethod
    def step_episode(
        self, example: TaskExample, messages: list[Message], assistant_response: str
    ) -> EnvironmentStepResult:
        """Answer the model's action, which `messages` already ends with."""

    @abstractmethod
    def score_response(self, example: TaskExample, response_text: str) -> RewardResult:
        """Score one answer."""

    @abstractmethod
    def score_episode(self, example: TaskExample, episode: EnvironmentEpisode) -> RewardResult:
        """Score one episode."""

    def score_responses(self, example: TaskExample, texts: Sequence[str]) -> list[RewardResult]:
        """Score answers to the same example, in their order."""
        return self._score_all(
            lambda text: self.score_response(example, self.normalize_response_text(example, text)),
            texts,
        )

    def score_episodes(
        self, example: TaskExample, episodes: Sequence[EnvironmentEpisode]
    ) -> list[RewardResult]:
        """Score episodes of the same example, in their order."""
        return self._score_all(lambda episode: self.score_episode(example, episode), episodes)

    def normalize_response_text(self, example: TaskExample, text: str) -> str:
        """Clean an answer before it is scored. Unless overridden, leave it alone."""
        return text

    def extract_response_text(self, message: object) -> str:
        """Return the text of a message, given as a dictionary, an object or a bare content."""
        if isinstance(message, dict):
            content = message.get("content", "")
        else:
            content = getattr(message, "content", message)
        if isinstance(content, list):
            return "".join(
                str(part.get("text", ""))
                for part in content
                if isinstance(part, dict) and part.get("type") == "text"
            )
        return str(content)

    def sft_completion(self, example: TaskExample) -> list[Message]:
        """Return the gold answer as the messages that the model should have written."""
        return target_messages(example.output)

    def build_oracle_messages(
        self,
        example: TaskExample,
        contract_text: str,
        *,
        contract_spec: ContractSpec | None = None,
    ) -> list[Message]:
        """Return what a stronger model is asked for a gold answer with."""
        return build_oracle_messages(example.input, contract_text, contract_spec)

    def _score_all(
        self, score: Callable[[Item], RewardResult], items: Sequence[Item]
    ) -> list[RewardResult]:
        if self.max_score_concurrency <= 1:
            return [score(item) for item in items]
        return list(self._score_pool().map(score, items))

    def _score_pool(self) -> ThreadPoolExecutor:
        # Kept in the instance's dictionary, not set as an attribute: subclasses may be frozen, and
        # need not call our constructor.
        with _pool_creation:
            pool = vars(self).get("_scorers")
            if pool is None:
                pool = ThreadPoolExecutor(self.max_score_concurrency, "score")
                vars(self)["_scorers"] = pool
        return pool


class EnvironmentSingleTurn(Environment):
    """A task of one question and one answer.

    Define `build_prompt_messages` and `score_response`::

        class Sums(EnvironmentSingleTurn):
            dataset = [{"input": "6*7", "output": "42"}]

            def build_prompt_messages(self, example, prompt_text):
                return [{"role": "user", "content": example.input}]

            def score_response(self, example, response_text):
                return RewardResult(float(response_text.strip() == example.output))
    """

    def start_episode(self, example: TaskExample, prompt_text: str) -> list[Message]:
        """Return the prompt, with `prompt_text` as system message if it has none of its own."""
        messages = list(self.build_prompt_messages(example, prompt_text))
        prompt = prompt_text.strip()
        if not prompt or any(_is_system(message) for message in messages):
            return messages
        return [{"role": "system", "content": prompt}, *messages]

    def max_episode_turns(self, example: TaskExample) -> int:
        """Return 1."""
        return 1

    def step_episode(
        self,
        example: TaskExample,
        messages: list[Message],
        assistant_response: str,
    ) -> EnvironmentStepResult:
        """End the episode with the normalised answer."""
        text = self.normalize_response_text(example, assistant_response)
        return EnvironmentStepResult(done=True, final_response_text=text)

    def score_episode(self, example: TaskExample, episode: EnvironmentEpisode) -> RewardResult:
        """Score the episode's answer."""
        return self.score_response(example, episode.response_text)

    def score_episodes(
        self, example: TaskExample, episodes: Sequence[EnvironmentEpisode]
    ) -> list[RewardResult]:
        """Score episodes as a subclass does, or else their answers, in their order."""
        if type(self).score_episode is not EnvironmentSingleTurn.score_episode:
            return super().score_episodes(example, episodes)
        return self.score_responses(example, [episode.response_text for episode in episodes])


class EnvironmentMultiTurn(Environment):
    """A task in which the environment answers the model's actions.

    Define `start_episode`, `max_episode_turns`, `step_episode` and `score_episode`. An episode runs
    like this::

        messages = list(environment.start_episode(example, prompt_text))
        for _ in range(environment.max_episode_turns(example)):
            action = sample(messages)
            messages.append({"role": "assistant", "content": action})
            step = environment.step_episode(example, messages, action)
            text = action if step.final_response_text is None else step.final_response_text
            messages.extend(step.messages)
            if step.done:
                break

    `score_episode` then gets all `messages`, that `text`, and what was said after the start as
    `turns`. Many episodes are under way at once, and the process may be started anew between two
    steps: what a step has to know, it reads from `example` and `messages`. A tool call is text that
    `step_episode` parses; its result is what it says back. To credit actions one by one, put a
    number for each into the reward's `metadata["per_turn_rewards"]`.
    """

    def build_prompt_messages(self, example: TaskExample, prompt_text: str) -> list[Message]:
        """Return what an episode begins with."""
        return self.start_episode(example, prompt_text)

    def score_response(self, example: TaskExample, response_text: str) -> RewardResult:
        """Score an answer as an episode without messages."""
        text = self.normalize_response_text(example, response_text)
        return self.score_episode(example, EnvironmentEpisode(messages=(), response_text=text))


def _is_system(message: Message) -> bool:
    return str(message.get("role", "")).strip().lower() == "system"
