"""Reviews: say of a sentence whether it is positive or negative, in one word.

A base model can do it now and then, and not in the form that is asked for: what practice alone is for.
"""

from freesolo.datasets import TaskExample
from freesolo.environments import EnvironmentSingleTurn, RewardResult

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
        return [{"role": "user", "content": QUESTION.format(review=example.input)}]

    def score_response(self, example: TaskExample, response_text: str) -> RewardResult:
        """Give 1 for the right word, a little for the other one, else 0."""
        answer = response_text.strip()
        if answer == example.output:
            return RewardResult(1.0, success=True)
        return RewardResult(0.2 if answer in WORDS["train"] else 0.0, success=False)


def load_environment(split: str = "train") -> Reviews:
    """Return the reviews of a split."""
    return Reviews(split)
