"""Review rounds: three reviews, one after the other, each to be called positive or negative.

A conversation that a base model can hold now and then: what practice over several turns is for.
"""

import random

from freesolo.datasets import TaskExample
from freesolo.environments import (
    EnvironmentEpisode,
    EnvironmentMultiTurn,
    EnvironmentStepResult,
    RewardResult,
)

SUBJECTS = {
    "train": ("film", "book", "meal", "song", "trip", "game", "play", "show", "hotel", "concert"),
    "heldout": ("novel", "lunch", "museum", "series", "lecture", "ride"),
}
WORDS = {
    "train": {
        "positive": ("lovely", "great", "charming", "superb", "delightful", "warm", "brilliant"),
        "negative": ("awful", "dull", "dreadful", "boring", "nasty", "gloomy", "terrible"),
    },
    "heldout": {
        "positive": ("wonderful", "excellent", "gorgeous", "splendid", "enjoyable"),
        "negative": ("horrible", "tedious", "ghastly", "dismal", "disappointing"),
    },
}
ROUNDS = 3
ROWS = {"train": 200, "heldout": 120}
QUESTION = "Is this review positive or negative? Answer with one word, positive or negative.\nThe {review}."


class ReviewRounds(EnvironmentMultiTurn):
    """Three sentences, a word for each. Held-out ones share neither subjects nor words with others."""

    def __init__(self, split: str) -> None:
        draw = random.Random(split)
        self.dataset = [_row(draw, split, number) for number in range(ROWS[split])]

    def start_episode(self, example: TaskExample, prompt_text: str) -> list[dict[str, str]]:
        """Return the first question."""
        return [_question(example, 0)]

    def max_episode_turns(self, example: TaskExample) -> int:
        """Return the number of rounds."""
        return ROUNDS

    def step_episode(
        self, example: TaskExample, messages: list[dict[str, str]], assistant_response: str
    ) -> EnvironmentStepResult:
        """Ask on, whatever was said."""
        said = sum(message["role"] == "assistant" for message in messages)
        if said == ROUNDS:
            return EnvironmentStepResult(done=True)
        return EnvironmentStepResult(done=False, messages=(_question(example, said),))

    def score_episode(self, example: TaskExample, episode: EnvironmentEpisode) -> RewardResult:
        """Give a third for each right word, and a little for the other one."""
        said = [turn.content.strip() for turn in episode.turns if turn.role == "assistant"]
        labels = example.metadata["labels"]
        worth = [
            (1.0 if word == label else 0.2 if word in WORDS["train"] else 0.0) / ROUNDS
            for word, label in zip(said, labels, strict=False)
        ]
        return RewardResult(
            sum(worth), success=said == labels, metadata={"per_turn_rewards": worth}
        )


def _row(draw: random.Random, split: str, number: int) -> dict[str, object]:
    labels = [draw.choice(("positive", "negative")) for _ in range(ROUNDS)]
    reviews = [
        f"{draw.choice(SUBJECTS[split])} was {draw.choice(WORDS[split][label])}" for label in labels
    ]
    gold = [{"role": "assistant", "content": labels[0]}]
    for review, label in zip(reviews[1:], labels[1:], strict=True):
        gold += [
            {"role": "user", "content": QUESTION.format(review=review)},
            {"role": "assistant", "content": label},
        ]
    return {
        "input": f"round {number}",
        "output": gold,
        "metadata": {"reviews": reviews, "labels": labels},
    }


def _question(example: TaskExample, number: int) -> dict[str, str]:
    review = example.metadata["reviews"][number]
    return {"role": "user", "content": QUESTION.format(review=review)}


def load_environment(split: str = "train") -> ReviewRounds:
    """Return the rounds of a split."""
    return ReviewRounds(split)
