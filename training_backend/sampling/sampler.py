"""What a sampler is asked and answers. No torch here."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import blake2b
from typing import Protocol

from freesolo.domain.train_tables import StructuredOutputs

Ids = tuple[int, ...]


class Finish(StrEnum):
    """Why the model said no more."""

    STOP = "stop"
    LENGTH = "length"


@dataclass(frozen=True)
class Rules:
    """How a run samples. A turn ends with any of `stop_ids`, or where one of `stop_sequences` is."""

    temperature: float
    stop_ids: frozenset[int]
    stop_sequences: tuple[str, ...] = ()
    structured_outputs: StructuredOutputs | None = None
    # What ends the thinking of a model that thinks: `structured_outputs` holds for what follows.
    thinking_end: Ids = ()


@dataclass(frozen=True)
class Request:
    """One turn to sample: what the model has read, the seed of its draws, and its most tokens."""

    ids: Ids
    seed: int
    max_tokens: int


@dataclass(frozen=True)
class Sampled:
    """What the model said, the end of its turn included, and how likely each token was to it.

    `logprobs` are of the distribution at the run's temperature, before any grammar narrowed it. Where
    a sampler only knows the narrowed one they are nan, and nothing is corrected by them.
    """

    ids: Ids
    logprobs: tuple[float, ...]
    finish: Finish


class Sampler(Protocol):
    """Gives answers of the policy as it is now."""

    def sample(self, requests: Sequence[Request]) -> list[Sampled]:
        """Answer all requests, in their order."""

    def policy_changed(self) -> None:
        """Note that the policy was updated: nothing computed before holds any more."""

    def forget(self) -> None:
        """Free what was kept of requests for those that go on from them."""


def seed_of(run_seed: int, *place: int) -> int:
    """Return the seed of the draws at a place of a run: step, example, rollout, turn.

    No two places share one, and it does not depend on what else is sampled beside it, so that a
    resumed run draws the same again.
    """
    text = "/".join(map(str, (run_seed, *place)))
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest()) >> 1
