"""What the gateway takes on: how much of each key in a minute, and how many requests at once.

This gateway knows only what it has seen itself: behind several, a key gets its limits from each.
"""

import math
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from freesolo.domain.rates import Bucket
from freesolo.errors import EngineUnavailable, RateLimitExceeded
from freesolo.schemas.deployments import Target

_MAX_KEYS = 10_000
# How soon a place may be free again, where nobody can know.
_BUSY_SECONDS = 2.0
# Names in OpenAI's headers.
_REQUESTS, _TOKENS = "requests", "tokens"


class KeyRates:
    """A bucket of requests and one of tokens for each key that has such a limit.

    What tokens a request will take nobody knows before it is answered. So a key that has any left may
    ask, what was counted is taken afterwards, and what it owes then has to fill up first.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets: dict[tuple[str, str], Bucket] = {}

    def take_request(self, target: Target) -> None:
        """Take a request of a key into account. Raise `RateLimitExceeded` if it has to wait."""
        now = self._clock()
        limits = self._limits(target, now)
        for kind, bucket in limits.items():
            needed = 1.0 if kind == _REQUESTS else 0.0
            wait = bucket.seconds_until(needed)
            if wait > 0 or (kind == _TOKENS and bucket.level <= 0):
                raise RateLimitExceeded(
                    f"This key may ask for {bucket.per_minute} {kind} a minute.",
                    hint=f"Go on in {math.ceil(wait) or 1} seconds.",
                    retry_after=max(wait, 1.0),
                )
        if _REQUESTS in limits:
            self._buckets[target.key_id, _REQUESTS] = limits[_REQUESTS].less(1)

    def take_tokens(self, target: Target, tokens: int) -> None:
        """Take what an answer took into account."""
        bucket = self._limits(target, self._clock()).get(_TOKENS)
        if bucket is not None:
            self._buckets[target.key_id, _TOKENS] = bucket.less(tokens)

    def headers(self, target: Target) -> dict[str, str]:
        """Return what is left, in OpenAI's headers; nothing of a key without limits."""
        headers: dict[str, str] = {}
        for kind, bucket in self._limits(target, self._clock()).items():
            headers |= {
                f"x-ratelimit-limit-{kind}": str(bucket.per_minute),
                f"x-ratelimit-remaining-{kind}": str(max(0, math.floor(bucket.level))),
                f"x-ratelimit-reset-{kind}": f"{bucket.seconds_until(bucket.per_minute):.3f}s",
            }
        return headers

    def _limits(self, target: Target, now: float) -> dict[str, Bucket]:
        """Return a key's buckets as they are now."""
        self._forget(now)
        wanted: Mapping[str, int | None] = {
            _REQUESTS: target.limits.requests_per_minute,
            _TOKENS: target.limits.tokens_per_minute,
        }
        found = {}
        for kind, per_minute in wanted.items():
            if per_minute is not None:
                known = self._buckets.get((target.key_id, kind))
                found[kind] = (
                    known.later(now, per_minute=per_minute)
                    if known
                    else Bucket.full(per_minute, now)
                )
        return found

    def _forget(self, now: float) -> None:
        """Drop the buckets that are full again: they say no more than none."""
        if len(self._buckets) > _MAX_KEYS:
            self._buckets = {
                key: bucket
                for key, bucket in self._buckets.items()
                if bucket.seconds_until(bucket.per_minute) > now - bucket.at
            }


@dataclass
class Place:
    """What a request takes up of the engines of a base model, until it is left."""

    model: str
    org: str
    prompts: int
    taken: Counter[tuple[str, str]] = field(repr=False)

    def leave(self) -> None:
        """Make room. Once is enough."""
        self.taken[self.model, ""] -= self.prompts
        self.taken[self.model, self.org] -= self.prompts
        self.prompts = 0


class InFlight:
    """How many prompts are being answered or wait, by base model, and by org at each."""

    def __init__(self, *, most: int, most_of_org: int) -> None:
        self._most = most
        self._most_of_org = most_of_org
        self._taken: Counter[tuple[str, str]] = Counter()

    def enter(self, model: str, org: str, *, prompts: int, engines: int) -> Place:
        """Take up room for some prompts at the engines of a base model. Raise, at once, if there is none.

        `RateLimitExceeded` if the org has too many there itself, `EngineUnavailable` if all have.
        """
        taken, most_of_org = self._taken[model, org], engines * self._most_of_org
        if taken + prompts > most_of_org:
            raise RateLimitExceeded(
                f"This organisation has {taken} prompts on their way, asks for {prompts} more, and may "
                f"have {most_of_org}; each of several answers counts.",
                hint="Wait for answers before you ask for more."
                if prompts <= most_of_org
                else "Ask for fewer prompts and answers in one request.",
                retry_after=_BUSY_SECONDS,
            )
        if self._taken[model, ""] + prompts > engines * self._most:
            raise EngineUnavailable(
                "The engine has too much to do just now.", hint="Retry.", retry_after=_BUSY_SECONDS
            )
        self._taken[model, ""] += prompts
        self._taken[model, org] += prompts
        return Place(model, org, prompts, self._taken)

    def count(self) -> int:
        """Return how many prompts are on their way."""
        return sum(taken for (_, org), taken in self._taken.items() if not org)
