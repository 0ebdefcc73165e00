"""What of a run's checkpoints may go once something newer is there."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Saved:
    """A checkpoint, by rising step: which of its parts are kept, and whether anything serves it."""

    step: int
    state: bool
    adapter: bool
    in_use: bool = False


@dataclass(frozen=True)
class Dropped:
    """The steps whose state or adapter goes."""

    states: frozenset[int]
    adapters: frozenset[int]


def droppable(
    saved: Sequence[Saved], *, ended: bool, result: int | None, keep_adapters: int | None
) -> Dropped:
    """Say what nobody needs any more.

    Only the newest checkpoint of a run that goes on can be resumed from, so only its state stays.
    Adapters stay, or only the newest `keep_adapters`; in any case the `result`, the newest, and those
    in use.
    """
    if not saved:
        return Dropped(frozenset(), frozenset())
    newest = saved[-1].step
    resumable = frozenset[int]() if ended else frozenset({newest})
    return Dropped(
        states=frozenset(point.step for point in saved if point.state) - resumable,
        adapters=frozenset[int]()
        if keep_adapters is None
        else _old_adapters(saved, {newest, result}, keep_adapters),
    )


def _old_adapters(
    saved: Sequence[Saved], needed: Collection[int | None], keep: int
) -> frozenset[int]:
    old = saved[: max(0, len(saved) - keep)]
    return frozenset(
        point.step
        for point in old
        if point.adapter and not point.in_use and point.step not in needed
    )
