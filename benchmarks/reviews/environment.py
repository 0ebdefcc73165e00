"""Reviews: say of a sentence whether it is positive or negative, in one word.

A base model can do it now and then, and not in the form that is asked for: what practice alone is for.
With `rounds` it is asked about several sentences, one after the other in one conversation.
"""

import random

from freesolo.datasets import TaskExample
from freesolo.environments import (
    EnvironmentEpisode,
    EnvironmentMultiTurn,
    EnvironmentSingleTurn,
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
FRAMES = ("The {subject} was {word}.", "What a {word} {subject}!")
QUESTION = (
    "Is this review positive or negative? Answer with one word, positive or negative.\n{review}"
)
# Conversations of a split.
CONVERSATIONS = {"train": 200, "heldout": 120}


class Reviews(EnvironmentSingleTurn):
    """One sentence, one word. Held-out sentences share neither subjects nor words with the others."""

    def __init__(self, split: str) -> None:
        self.dataset = [
            {"input": frame.format(subject=subject, word=word), "output": label}
            for frame in FRAMES
            for subject in SUBJECTS[split]
            for label, words in WORDS[split].items()
            for word in words
        ]

    def build_prompt_messages(self, example: TaskExample, prompt_text: str) -> list[dict[str, str]]:
        """Return the question."""
        return [_question(example.input)]

    def score_response(self, example: TaskExample, response_text: str) -> RewardResult:
        """Give 1 for the right word, a little for the other one, else 0."""
        answer = response_text.strip()
        return RewardResult(_worth(answer, example.output), success=answer == example.output)


class ReviewRounds(EnvironmentMultiTurn):
    """Sentences of the same kind, and a word for each in a turn of its own."""

    def __init__(self, split: str, rounds: int) -> None:
        self.rounds = rounds
        draw = random.Random(split)
        self.dataset = [
            _conversation(draw, split, rounds, number) for number in range(CONVERSATIONS[split])
        ]

    def start_episode(self, example: TaskExample, prompt_text: str) -> list[dict[str, str]]:
        """Return the first question."""
        return [_question(example.metadata["reviews"][0])]

    def max_episode_turns(self, example: TaskExample) -> int:
        """Return the number of rounds."""
        return self.rounds

    def step_episode(
        self, example: TaskExample, messages: list[dict[str, str]], assistant_response: str
    ) -> EnvironmentStepResult:
        """Ask on, whatever was said."""
        said = sum(message["role"] == "assistant" for message in messages)
        if said == self.rounds:
            return EnvironmentStepResult(done=True)
        question = _question(example.metadata["reviews"][said])
        return EnvironmentStepResult(done=False, messages=(question,))

    def score_episode(self, example: TaskExample, episode: EnvironmentEpisode) -> RewardResult:
        """Give each answer its share of what the right one alone would get."""
        said = [turn.content.strip() for turn in episode.turns if turn.role == "assistant"]
        labels = example.metadata["labels"]
        worth = [
            _worth(answer, label) / self.rounds for answer, label in zip(said, labels, strict=False)
        ]
        return RewardResult(
            sum(worth), success=said == labels, metadata={"per_turn_rewards": worth}
        )


def _question(review: str) -> dict[str, str]:
    return {"role": "user", "content": QUESTION.format(review=review)}


def _worth(answer: str, label: object) -> float:
    """Return 1 for the right word, a little for the other one, else 0."""
    if answer == label:
        return 1.0
    return 0.2 if answer in WORDS["train"] else 0.0


def _conversation(draw: random.Random, split: str, rounds: int, number: int) -> dict[str, object]:
    labels = [draw.choice(("positive", "negative")) for _ in range(rounds)]
    reviews = [
        FRAMES[0].format(
            subject=draw.choice(SUBJECTS[split]), word=draw.choice(WORDS[split][label])
        )
        for label in labels
    ]
    gold = [{"role": "assistant", "content": labels[0]}]
    for review, label in zip(reviews[1:], labels[1:], strict=True):
        gold += [_question(review), {"role": "assistant", "content": label}]
    return {
        "input": f"conversation {number}",
        "output": gold,
        "metadata": {"reviews": reviews, "labels": labels},
    }


def load_environment(split: str = "train", rounds: int = 1) -> Reviews | ReviewRounds:
    """Return the reviews of a split, in conversations of so many rounds."""
    return Reviews(split) if rounds == 1 else ReviewRounds(split, rounds)
