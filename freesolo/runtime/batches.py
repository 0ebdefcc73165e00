"""How far a call on several items has come, such as on the answers to one question.

The child tells, now and then, which items it has begun and what came of them. So each has a deadline
of its own, and one that fails takes no other with it.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from freesolo.errors import EnvironmentFailed

# A process of which some items hang begins others at once, or has no thread left to do so.
_NEXT_SECONDS = 1.0


@dataclass
class Batch:
    """The items of one call by their state. Times are in seconds, of one clock.

    Of the `waiting` nothing was heard, `begun` maps those at work to when they began, `late` had the
    `seconds` that each may take, the last until `gave_up`, and `outcomes` holds what came of the
    others. `started` says whether the child has begun with the call.
    """

    waiting: set[int]
    seconds: float
    begun: dict[int, float] = field(default_factory=dict)
    late: set[int] = field(default_factory=set)
    outcomes: dict[int, object | EnvironmentFailed] = field(default_factory=dict)
    started: bool = False
    gave_up: float = 0.0

    @classmethod
    def of(cls, items: Iterable[int], *, seconds: float) -> "Batch":
        """Return a batch of which nothing has begun."""
        return cls(set(items), seconds)

    def begin(self, item: int, now: float) -> None:
        """Note that an item is at work. Raise `KeyError` unless it was waiting."""
        self.waiting.remove(item)
        self.begun[item] = now

    def finish(self, item: int, outcome: object | EnvironmentFailed) -> None:
        """Note what came of an item; one that is late stays late. Raise `KeyError` for any other."""
        if item not in self.late:
            del self.begun[item]
            self.outcomes[item] = outcome

    def expire(self, now: float) -> None:
        """Give up the items that had their time."""
        over = {item for item, began in self.begun.items() if now >= began + self.seconds}
        if over:
            self.late |= over
            self.gave_up = now
        for item in over:
            del self.begun[item]

    def suspects(self) -> list[int]:
        """Return the items of which one must have ended the process, if it was an item."""
        return sorted(self.begun) or ([] if self.late or self.outcomes else sorted(self.waiting))

    def patience(self, now: float) -> float:
        """Return for how long it makes sense to wait for more; 0 if nothing more can come."""
        if self.begun:
            return max(min(self.begun.values()) + self.seconds - now, 0.001)
        if not self.late:
            return self.seconds
        return max(self.gave_up + _NEXT_SECONDS - now, 0.0) if self.waiting else 0.0
