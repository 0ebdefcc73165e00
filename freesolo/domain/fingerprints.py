"""What an adapter says to a few fixed questions: noted as it is saved, compared when it is served.

Whoever serves an adapter cannot see from its answers that they are its own: an engine may serve the
base model, or another adapter, in its name. So training notes how likely the first tokens of some
answers are, and an engine must find them about as likely.
"""

import math
from collections.abc import Sequence
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

# The file of an adapter that holds its fingerprint.
FINGERPRINT = "fingerprint.json"
QUESTIONS = ("Hello.", "What is the capital of France?", "Write one line of JSON.")
# Tokens of each answer. After the first, answers of adapters for different tasks part ways.
PLACES = 3
# Tokens that are noted at each place; engines tell up to twenty.
LIKELIEST = 8


class Place(BaseModel):
    """One place of an answer: the token that was said, and the log-probabilities of the likeliest."""

    model_config = ConfigDict(frozen=True)

    said: int
    likeliest: Annotated[dict[int, FiniteFloat], Field(min_length=1, max_length=100)]


class AnswerPrint(BaseModel):
    """The first places of an answer that says the likeliest token at each."""

    model_config = ConfigDict(frozen=True)

    question: str = Field(max_length=1000)
    places: tuple[Place, ...] = Field(min_length=1, max_length=16)


class Fingerprint(BaseModel):
    """What an adapter answers, asked with thinking or without, as it was trained."""

    model_config = ConfigDict(frozen=True)

    thinking: bool
    answers: tuple[AnswerPrint, ...] = Field(min_length=1, max_length=16)


def distance(expected: Sequence[Place], heard: Sequence[Place]) -> float:
    """Return how far two beginnings of one answer are apart, in nats: the mean over their places.

    Beyond a place where they say different tokens they are no longer answers to the same.
    """
    gaps: list[float] = []
    for one, other in zip(expected, heard, strict=False):
        gaps.append(_gap(one, other))
        if one.said != other.said:
            break
    return sum(gaps) / len(gaps)


def _gap(expected: Place, heard: Place) -> float:
    """Return by how much the expected tokens' log-probabilities differ, the likelier counting more."""
    # What is not told is at most as likely as the least likely that is.
    unheard = min(heard.likeliest.values())
    weighed = (
        math.exp(logprob) * abs(logprob - heard.likeliest.get(token, min(logprob, unheard)))
        for token, logprob in expected.likeliest.items()
    )
    return sum(weighed) / sum(map(math.exp, expected.likeliest.values()))
