"""An environment of the library verifiers, `$module`, as one of Freesolo.

Its rows, prompts, turns and rubric are its own; this file says what each is here. Params are handed to
its `load_environment`.
"""

import sys
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path

# Code that was imported from a folder or a file, rather than installed.
sys.path.append(str(Path(__file__).parent / "source"))

import verifiers as vf
from playing import Rollout, play, rubrics_of, score, wait_for
from refusals import check_playable

from freesolo.datasets import TaskExample
from freesolo.environments import (
    EnvironmentEpisode,
    EnvironmentMultiTurn,
    EnvironmentSingleTurn,
    EnvironmentStepResult,
    RewardMetric,
    RewardResult,
)

MODULE = "$module"
# The library lets a rollout go on forever unless told otherwise; a run does not.
MOST_TURNS = 10

Message = dict[str, object]


class Bridge:
    """What environments of one turn and of several have in common."""

    def __init__(self, environment: vf.MultiTurnEnv) -> None:
        self.environment = environment
        self.dataset = [row_of(environment, record) for record in environment.get_dataset()]

    def held_out(self) -> list[dict[str, object]]:
        """Return the rows of its evaluation dataset, none if it has no such dataset."""
        if self.environment.eval_dataset_source is None:
            return []
        records = self.environment.get_eval_dataset()
        return [row_of(self.environment, record) for record in records]

    def play(self, example: TaskExample, answers: Iterable[str]) -> Rollout:
        """Play the rollout of a row with the answers given so far."""
        said = [answer_message(self.environment, answer) for answer in answers]
        return wait_for(play(self.environment, example.record["row"], said))

    def score(self, example: TaskExample, answers: Iterable[str]) -> RewardResult:
        """Let the library's rubric score the rollout that has these answers."""
        rollout = self.play(example, answers)
        scored = wait_for(score(self.environment, rollout))
        weights = weights_of(self.environment.rubric)
        credits = [step["reward"] for step in rollout.state["trajectory"]]
        return RewardResult(
            scored.reward,
            threshold=self.environment.pass_threshold,
            metrics=tuple(
                RewardMetric(name, score=value, weight=weights.get(name))
                for name, value in scored.metrics.items()
            ),
            metadata={} if None in credits else {"per_turn_rewards": credits},
        )


class SingleTurn(Bridge, EnvironmentSingleTurn):
    """An environment of one answer."""

    def build_prompt_messages(self, example: TaskExample, prompt_text: str) -> list[Message]:
        """Return the row's prompt."""
        return [plain(message) for message in self.play(example, []).messages]

    def score_response(self, example: TaskExample, response_text: str) -> RewardResult:
        """Score one answer."""
        return self.score(example, [response_text])


class MultiTurn(Bridge, EnvironmentMultiTurn):
    """An environment that answers back. What it says follows from what was said to it."""

    def start_episode(self, example: TaskExample, prompt_text: str) -> list[Message]:
        """Return the prompt. It has a system message of its own, if any."""
        return [plain(message) for message in self.play(example, []).messages]

    def max_episode_turns(self, example: TaskExample) -> int:
        """Return the environment's own limit."""
        return self.environment.max_turns if self.environment.max_turns > 0 else MOST_TURNS

    def step_episode(
        self, example: TaskExample, messages: list[Message], assistant_response: str
    ) -> EnvironmentStepResult:
        """Return what the environment says to the last of all actions so far."""
        start = len(self.start_episode(example, ""))
        actions = [str(said["content"]) for said in messages[start:] if said["role"] == "assistant"]
        rollout = self.play(example, [*actions[:-1], assistant_response])
        said = [plain(message) for message in rollout.messages]
        if [same(message) for message in said[: len(messages)]] != [same(m) for m in messages]:
            raise NotImplementedError(
                f"{MODULE} changes what was said before; that has no place here."
            )
        return EnvironmentStepResult(not rollout.goes_on, messages=tuple(said[len(messages) :]))

    def score_episode(self, example: TaskExample, episode: EnvironmentEpisode) -> RewardResult:
        """Score an episode; its last answer is the one with its thinking."""
        turns = [turn.content for turn in episode.turns if turn.role == "assistant"]
        return self.score(example, [*turns[:-1], episode.response_text])


def row_of(environment: vf.MultiTurnEnv, record: dict[str, object]) -> dict[str, object]:
    """Return a row of the library as one of ours, with the whole of it for the library."""
    asked = record["prompt"]
    text = asked if isinstance(asked, str) else asked[-1]["content"]
    return {"input": text, "output": gold_of(environment, record.get("answer")), "row": record}


def gold_of(environment: vf.MultiTurnEnv, answer: object) -> str | None:
    """Return a row's answer as a model would write it, which the library does not say.

    This is a guess by the parser: tags for one that reads tags, a box for one that reads boxes.
    """
    parser = environment.parser
    if answer in (None, ""):
        return None
    if isinstance(parser, vf.XMLParser):
        fields = dict.fromkeys(parser.get_fields(), "")
        return parser.format(**{**fields, parser.answer_field: answer})
    boxed = getattr(parser, "extract_fn", None) is vf.extract_boxed_answer
    text = f"\\boxed{{{answer}}}" if boxed else str(answer)
    return f"<think>\n</think>\n{text}" if isinstance(parser, vf.ThinkParser) else text


def answer_message(environment: vf.MultiTurnEnv, answer: str) -> vf.types.AssistantMessage:
    """Return an answer as the library's message: its thinking apart, unless its parser looks for it."""
    thinking = getattr(answer, "thinking", "")
    if isinstance(environment.parser, vf.ThinkParser):
        return vf.types.AssistantMessage(content=str(getattr(answer, "raw", answer)))
    return vf.types.AssistantMessage(content=str(answer), reasoning_content=thinking or None)


def weights_of(rubric: vf.Rubric) -> dict[str, float]:
    """Return the weight of each reward function in the reward; a metric's is 0."""
    return {
        function.__name__: weight
        for part in rubrics_of(rubric)
        for function, weight in zip(part.funcs, part.weights, strict=True)
    }


def plain(message: vf.types.Message) -> Message:
    """Return a message of the library as a dictionary."""
    return message.model_dump(mode="json", exclude_none=True)


def same(message: Message) -> tuple[object, object]:
    """Return what two messages have in common that say the same."""
    return message["role"], message.get("content")


def load_environment(**params: object) -> SingleTurn | MultiTurn:
    """Return the environment. Raise `NotImplementedError` for one that needs what is not here."""
    environment = import_module(MODULE).load_environment(**params)
    check_playable(environment)
    kind = SingleTurn if isinstance(environment, vf.SingleTurnEnv) else MultiTurn
    return kind(environment)
