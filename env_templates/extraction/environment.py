"""Orders: read a short order and write it down as JSON, each fact under its own key.

A reward need not be all or nothing: this one counts the facts that are right, so that a model which
gets three of five is told that it is on the way.
"""

import json
from pathlib import Path

from freesolo.datasets import TaskExample, load_dataset
from freesolo.environments import EnvironmentSingleTurn, RewardMetric, RewardResult

DATASET = Path(__file__).parent / "dataset"
KEYS = ("quantity", "colour", "item", "name", "city")
QUESTION = f"Write this order as JSON with the keys {', '.join(KEYS)}: "


class Orders(EnvironmentSingleTurn):
    """One order, one JSON object. `dataset` holds the rows that training uses."""

    def __init__(self, split: str) -> None:
        self.dataset = load_dataset(DATASET / f"{split}.jsonl").examples

    def build_prompt_messages(self, example: TaskExample, prompt_text: str) -> list[dict[str, str]]:
        """Return what the model is asked. `prompt_text` is the system prompt, added for us."""
        return [{"role": "user", "content": QUESTION + example.input}]

    def score_response(self, example: TaskExample, response_text: str) -> RewardResult:
        """Give the share of facts that are right; anything but the five keys gets nothing."""
        answer = read_object(response_text)
        if answer is None or set(answer) != set(KEYS):
            return RewardResult(0.0, success=False, reason="not an object with the five keys")
        expected = json.loads(example.output)
        right = [answer[key] == expected[key] for key in KEYS]
        metrics = [
            RewardMetric(key, score=float(hit)) for key, hit in zip(KEYS, right, strict=True)
        ]
        return RewardResult(sum(right) / len(KEYS), success=all(right), metrics=tuple(metrics))


def read_object(text: str) -> dict[str, object] | None:
    """Return the JSON object that `text` is, None if it is anything else."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):  # a model may well write a thousand brackets
        return None
    return value if isinstance(value, dict) else None


def load_environment(split: str = "train") -> Orders:
    """Return the environment over `dataset/<split>.jsonl`."""
    return Orders(split)
