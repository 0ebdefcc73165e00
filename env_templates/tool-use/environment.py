"""Shop desk: answer a question about an order by calling tools, one call a turn.

Calls are written as text, so that any model can make them: one JSON object a turn, answered with
one. The tools run here, over the row's own books (`tools.py`): what a model has not looked up, it
cannot know. An answer that was right by luck is worth no more than its lookups.
"""

import json
from pathlib import Path

from tools import MANUAL, ToolError, read_action, run_tool

from freesolo.datasets import TaskExample, load_dataset
from freesolo.environments import (
    EnvironmentEpisode,
    EnvironmentMultiTurn,
    EnvironmentStepResult,
    RewardResult,
)

DATASET = Path(__file__).parent / "dataset"
MOST_TURNS = 6
FOR_LOOKUPS = 0.3
QUESTION = (
    f"You have these tools:\n{MANUAL}\n"
    'Each turn, write one JSON object: {"tool": ..., "arguments": {...}} to call a tool, '
    '{"answer": ...} to end.\n'
)


class ShopDesk(EnvironmentMultiTurn):
    """One question, some calls, one answer. `dataset` holds the rows that training uses."""

    def __init__(self, split: str) -> None:
        self.dataset = load_dataset(DATASET / f"{split}.jsonl").examples

    def start_episode(self, example: TaskExample, prompt_text: str) -> list[dict[str, str]]:
        """Return the tools and the question."""
        return [{"role": "user", "content": QUESTION + example.input}]

    def max_episode_turns(self, example: TaskExample) -> int:
        """Return how often the model may act: three calls at most are needed."""
        return MOST_TURNS

    def step_episode(
        self, example: TaskExample, messages: list[dict[str, str]], assistant_response: str
    ) -> EnvironmentStepResult:
        """Run the tool that was called; an answer ends the episode."""
        action = read_action(assistant_response)
        if action is not None and "answer" in action:
            return EnvironmentStepResult(done=True, final_response_text=str(action["answer"]))
        reply = {"role": "user", "content": json.dumps(result_of(example, action))}
        return EnvironmentStepResult(done=False, messages=(reply,))

    def score_episode(self, example: TaskExample, episode: EnvironmentEpisode) -> RewardResult:
        """Give 1 for the right answer, found by what it rests on, else a little for the lookups.

        `per_turn_rewards` says which turn earned how much of it; together they are the score.
        """
        texts = [
            self.extract_response_text(turn) for turn in episode.turns if turn.role == "assistant"
        ]
        missing = set(example.metadata["needed"])
        share = FOR_LOOKUPS / len(missing)
        rewards = []
        for text in texts:
            found = {lookup(example, text)} & missing
            missing -= found
            rewards.append(share * len(found))
        solved = bool(texts) and not missing and is_answer(texts[-1], example)
        if solved:
            rewards[-1] += 1 - FOR_LOOKUPS
        score = 1.0 if solved else sum(rewards)
        return RewardResult(score, success=solved, metadata={"per_turn_rewards": rewards})


def result_of(example: TaskExample, action: dict[str, object] | None) -> dict[str, object]:
    """Return what the model is told about its call."""
    if action is None:
        return {"error": "write one JSON object, a call or an answer"}
    try:
        return run_tool(example.metadata["shop"], action)
    except ToolError as error:
        return {"error": str(error)}


def lookup(example: TaskExample, text: str) -> str | None:
    """Return what a turn looked up, as in `order 4711` or `price lamp`; None if it did not."""
    action = read_action(text)
    match action:
        case {"tool": "get_order" | "get_price" as tool, "arguments": arguments}:
            if "error" not in result_of(example, action):
                (argument,) = arguments.values()
                return f"{tool.removeprefix('get_')} {argument}"
    return None


def is_answer(text: str, example: TaskExample) -> bool:
    """Say whether a turn is the right answer; a number may be written as text."""
    action = read_action(text) or {}
    return "answer" in action and str(action["answer"]).strip() == example.metadata["answer"]


def load_environment(split: str = "train") -> ShopDesk:
    """Return the environment over `dataset/<split>.jsonl`."""
    return ShopDesk(split)
