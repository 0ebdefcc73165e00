"""How much a key may ask of the gateway in a minute, and what is left of that (pure).

A bucket holds what may be taken at once, and fills evenly: a key that was silent for a minute may take
a minute's worth together, and no more than that.
"""

from dataclasses import dataclass, replace
from typing import Self

from pydantic import BaseModel, ConfigDict, Field

MOST_PER_MINUTE = 10**9
_MINUTE = 60.0


class KeyLimits(BaseModel):
    """What a key may ask for in a minute; None is no limit."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    requests_per_minute: int | None = Field(default=None, ge=1, le=MOST_PER_MINUTE)
    tokens_per_minute: int | None = Field(default=None, ge=1, le=MOST_PER_MINUTE)

    def or_else(self, others: "KeyLimits") -> "KeyLimits":
        """Return these limits, and `others` where nothing is said."""
        return KeyLimits(**others.model_dump() | self.model_dump(exclude_none=True))

    def within(self, most: "KeyLimits") -> "KeyLimits":
        """Return these limits, and `most` where they allow more."""
        return KeyLimits(
            requests_per_minute=_lower(self.requests_per_minute, most.requests_per_minute),
            tokens_per_minute=_lower(self.tokens_per_minute, most.tokens_per_minute),
        )

    def exceed(self, most: "KeyLimits") -> bool:
        """Say whether these allow something that `most` does not."""
        return any(
            bound is not None and (own is None or own > bound)
            for own, bound in (
                (self.requests_per_minute, most.requests_per_minute),
                (self.tokens_per_minute, most.tokens_per_minute),
            )
        )


def _lower(own: int | None, bound: int | None) -> int | None:
    return min((each for each in (own, bound) if each is not None), default=None)


UNLIMITED = KeyLimits()


@dataclass(frozen=True)
class Bucket:
    """What is left of a limit at a moment, in seconds of any clock. Below zero is owed."""

    per_minute: int
    level: float
    at: float

    @classmethod
    def full(cls, per_minute: int, now: float) -> Self:
        """Return the bucket of somebody who has taken nothing."""
        return cls(per_minute, float(per_minute), now)

    def later(self, now: float, *, per_minute: int) -> Self:
        """Return what is left at a later moment, under what the limit is by then."""
        filled = self.level + (now - self.at) * per_minute / _MINUTE
        return replace(self, per_minute=per_minute, level=min(filled, per_minute), at=now)

    def less(self, amount: int) -> Self:
        """Return what is left after something was taken."""
        return replace(self, level=self.level - amount)

    def seconds_until(self, level: float) -> float:
        """Return how long it takes until so much is there."""
        return max(0.0, (level - self.level) * _MINUTE / self.per_minute)
