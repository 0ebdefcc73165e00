"""Number hunt: find a hidden number by guessing; each guess is answered with `higher` or `lower`.

A game of several turns. The environment keeps nothing between calls: whatever it must know of an
episode it reads from the episode's own messages, so that many can be played at the same time.
"""

import math
import re
from pathlib import Path

from freesolo.datasets import TaskExample, load_dataset
from freesolo.environments import (
    EnvironmentEpisode,
    EnvironmentMultiTurn,
    EnvironmentStepResult,
    RewardResult,
)

DATASET = Path(__file__).parent / "dataset"
GUESS = re.compile(r"\s*([0-9]{1,4})\.?\s*")


class NumberHunt(EnvironmentMultiTurn):
    """One hidden number, a few guesses. `dataset` holds the rows that training uses."""

    def __init__(self, split: str) -> None:
        self.dataset = load_dataset(DATASET / f"{split}.jsonl").examples

    def start_episode(self, example: TaskExample, prompt_text: str) -> list[dict[str, str]]:
        """Return the question. The hidden number is in the metadata, which no model sees."""
        turns = self.max_episode_turns(example)
        question = (
            f"I think of a whole number, {example.input}. Find it with at most {turns} guesses. "
            "Each time, write one number and nothing else. I answer: higher, or lower."
        )
        return [{"role": "user", "content": question}]

    def max_episode_turns(self, example: TaskExample) -> int:
        """Return as many guesses as halving needs, and one to spare."""
        return width(example.metadata).bit_length() + 1

    def step_episode(
        self, example: TaskExample, messages: list[dict[str, str]], assistant_response: str
    ) -> EnvironmentStepResult:
        """Answer a guess. `messages` ends with it; nothing of them is needed here."""
        guess = read_guess(assistant_response)
        if guess == example.metadata["secret"]:
            return EnvironmentStepResult(done=True)
        reply = {"role": "user", "content": answer_guess(guess, example.metadata["secret"])}
        return EnvironmentStepResult(done=False, messages=(reply,))

    def score_episode(self, example: TaskExample, episode: EnvironmentEpisode) -> RewardResult:
        """Give 1 for finding the number, else up to a half for how far it was closed in on.

        `per_turn_rewards` says which guess earned how much of it; together they are the score.
        """
        texts = [
            self.extract_response_text(turn) for turn in episode.turns if turn.role == "assistant"
        ]
        guesses = [read_guess(text) for text in texts]
        rewards = [0.5 * gain for gain in gains(guesses, example.metadata)]
        found = example.metadata["secret"] in guesses
        if found:
            rewards[guesses.index(example.metadata["secret"])] += 0.5
        score = 1.0 if found else sum(rewards)
        return RewardResult(score, success=found, metadata={"per_turn_rewards": rewards})


def read_guess(text: str) -> int | None:
    """Return the number that a guess is, None if it is anything else."""
    match = GUESS.fullmatch(text)
    return int(match[1]) if match else None


def answer_guess(guess: int | None, secret: int) -> str:
    """Return what is said to a guess that is not the number."""
    if guess is None:
        return "Write one number and nothing else."
    return "higher" if secret > guess else "lower"


def gains(guesses: list[int | None], hidden: dict[str, int]) -> list[float]:
    """Return for each guess the share of all there was to know that it brought, in bits.

    A guess outside of what was still possible brings nothing; all of them together bring 1 at most.
    """
    low, high, secret = hidden["low"], hidden["high"], hidden["secret"]
    brought = []
    for guess in guesses:
        before = high - low + 1
        if guess is not None and low <= guess <= high:
            low = guess if secret == guess else guess + 1 if secret > guess else low
            high = guess if secret == guess else guess - 1 if secret < guess else high
        brought.append(math.log(before / (high - low + 1)) / math.log(width(hidden)))
    return brought


def width(hidden: dict[str, int]) -> int:
    """Return how many numbers there are to choose from."""
    return hidden["high"] - hidden["low"] + 1


def load_environment(split: str = "train") -> NumberHunt:
    """Return the environment over `dataset/<split>.jsonl`."""
    return NumberHunt(split)
