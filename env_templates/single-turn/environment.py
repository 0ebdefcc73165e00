"""Dates: rewrite a date, spelled in one of many English ways, as YYYY-MM-DD.

This file is the whole task. `load_environment` is called with the `params` of a training config and
returns an environment: rows to learn from, the question each row asks, and a reward.
"""

import re
from pathlib import Path

from freesolo.datasets import TaskExample, load_dataset
from freesolo.environments import EnvironmentSingleTurn, RewardResult

DATASET = Path(__file__).parent / "dataset"
ISO_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


class Dates(EnvironmentSingleTurn):
    """One question, one answer. `dataset` holds the rows that training uses."""

    def __init__(self, split: str) -> None:
        self.dataset = load_dataset(DATASET / f"{split}.jsonl").examples

    def build_prompt_messages(self, example: TaskExample, prompt_text: str) -> list[dict[str, str]]:
        """Return what the model is asked. `prompt_text` is the system prompt, added for us."""
        return [{"role": "user", "content": f"Write this date as YYYY-MM-DD: {example.input}"}]

    def score_response(self, example: TaskExample, response_text: str) -> RewardResult:
        """Give 1 for the right date, a little for the right form, else 0."""
        answer = response_text.strip()
        if answer == example.output:
            return RewardResult(1.0, success=True)
        well_formed = ISO_DATE.fullmatch(answer) is not None
        return RewardResult(0.1 if well_formed else 0.0, success=False)


def load_environment(split: str = "train") -> Dates:
    """Return the environment over `dataset/<split>.jsonl`."""
    return Dates(split)
