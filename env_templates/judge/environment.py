"""Manners: rewrite a blunt request politely, graded by a language model.

The judge is asked last. What can be seen without it is checked first, for nothing and without
doubt; and where the judge cannot be asked, the reward raises: the answer is then unscorable, and
training leaves it out instead of punishing it.
"""

import os
import re
from functools import lru_cache
from pathlib import Path

from judge import Judge

from freesolo.datasets import TaskExample, load_dataset
from freesolo.environments import EnvironmentSingleTurn, RewardResult

DATASET = Path(__file__).parent / "dataset"
MOST_WORDS = 40
REMEMBERED = 10_000


class Manners(EnvironmentSingleTurn):
    """One blunt request, one polite one. `dataset` holds the rows that training uses."""

    # As many questions are put to the judge at the same time.
    max_score_concurrency = 8

    def __init__(self, split: str, judge: Judge) -> None:
        self.dataset = load_dataset(DATASET / f"{split}.jsonl").examples
        # The rollouts of a group are often the same; a judge that is asked once says one thing.
        self.grade = lru_cache(REMEMBERED)(judge.grade)

    def build_prompt_messages(self, example: TaskExample, prompt_text: str) -> list[dict[str, str]]:
        """Return what the model is asked. `prompt_text` is the system prompt, added for us."""
        question = f"Say this politely, in one sentence: {example.input}"
        return [{"role": "user", "content": question}]

    def score_response(self, example: TaskExample, response_text: str) -> RewardResult:
        """Give the judge's grade, from 0 to 1; 0 without asking for what is no rewriting at all."""
        answer = response_text.strip()
        objection = find_objection(example, answer)
        if objection:
            return RewardResult(0.0, success=False, reason=objection)
        grade = self.grade(example.input, answer)
        return RewardResult((grade - 1) / 4, threshold=0.75, reason=f"grade {grade} of 5")


def find_objection(example: TaskExample, answer: str) -> str | None:
    """Return what is wrong with an answer for everybody to see, None if it is for the judge."""
    words = words_of(answer)
    if "\n" in answer or not 3 <= len(words) <= MOST_WORDS:
        return f"not one sentence of 3 to {MOST_WORDS} words"
    if re.search(r"[.!?]\s", answer):
        return "more than one sentence"
    if words == words_of(example.input):
        return "the request itself"
    lost = [word for word in example.metadata["keep"] if word.lower() not in words]
    return f"says nothing of {', '.join(lost)}" if lost else None


def words_of(text: str) -> list[str]:
    """Return the words of a text, in lower case."""
    return re.findall(r"\w+", text.lower())


def load_environment(
    split: str = "train",
    judge_url: str = "https://api.openai.com/v1",
    judge_model: str = "gpt-4.1-mini",
) -> Manners:
    """Return the environment over `dataset/<split>.jsonl`, graded by a model at an endpoint."""
    judge = Judge(url=judge_url, model=judge_model, key=os.environ["JUDGE_API_KEY"])
    return Manners(split, judge)
