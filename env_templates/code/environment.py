"""Functions: write a small Python function, checked by calling it.

The model's code runs in a process of its own, under limits (`sandbox.py`), never in this one. That
process is told what to call the function with, not what should come out: the comparison is made
here, so there is nothing for the code to read, print or patch that would make it pass.
"""

import json
import re
from pathlib import Path

from sandbox import call_function

from freesolo.datasets import TaskExample, load_dataset
from freesolo.environments import EnvironmentSingleTurn, RewardResult

DATASET = Path(__file__).parent / "dataset"
FUNCTION = "solve"
MOST_CHARACTERS = 2000
FENCED = re.compile(r"\s*```(?:python)?\n(.*?)```\s*", re.DOTALL)


class Functions(EnvironmentSingleTurn):
    """One description, one function. `dataset` holds the rows that training uses."""

    # Every answer that is scored is a process; more than the machine has cores gains nothing.
    max_score_concurrency = 4

    def __init__(self, split: str) -> None:
        self.dataset = load_dataset(DATASET / f"{split}.jsonl").examples

    def build_prompt_messages(self, example: TaskExample, prompt_text: str) -> list[dict[str, str]]:
        """Return what the model is asked. `prompt_text` is the system prompt, added for us."""
        question = f"Write a Python function {example.input} Answer with the code only."
        return [{"role": "user", "content": question}]

    def normalize_response_text(self, example: TaskExample, text: str) -> str:
        """Return the code, without the fence that models like to put around it."""
        fenced = FENCED.fullmatch(text)
        return fenced[1] if fenced else text

    def score_response(self, example: TaskExample, response_text: str) -> RewardResult:
        """Give 1 if every call returns what it should, else up to a half for those that do."""
        # Starting a process takes longer than all the rest: what cannot be right gets none.
        if f"def {FUNCTION}(" not in response_text or len(response_text) > MOST_CHARACTERS:
            return RewardResult(0.0, success=False, reason=f"no short function `{FUNCTION}`")
        tests = example.metadata["tests"]
        returned = call_function(response_text, FUNCTION, [test["given"] for test in tests])
        right = sum(
            same(value, test["expected"]) for value, test in zip(returned, tests, strict=True)
        )
        solved = right == len(tests)
        score = 1.0 if solved else 0.5 * right / len(tests)
        return RewardResult(
            score, success=solved, reason=f"{right} of {len(tests)} calls are right"
        )


def same(value: object, expected: object) -> bool:
    """Compare as JSON text, in which True is not 1."""
    return json.dumps(value) == json.dumps(expected)


def load_environment(split: str = "train") -> Functions:
    """Return the environment over `dataset/<split>.jsonl`."""
    return Functions(split)
