"""When a run that says nothing new has hung: how long each phase of an attempt may take."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import median


class Phase(StrEnum):
    """What an attempt is doing."""

    STARTING = "starting"
    ROLLOUTS = "rollouts"
    STEP = "step"
    CHECKPOINT = "checkpoint"


# A step may take so many times as long as its run's steps usually do: answers grow longer while a
# model learns, but not tenfold from one step to the next.
FACTOR = 10
# How many steps count as the usual.
_REMEMBERED = 101


@dataclass(frozen=True)
class Patience:
    """Seconds that each part of an attempt may take; a step takes longer if its run's steps do."""

    starting: float
    step: float
    checkpoint: float


@dataclass(frozen=True)
class Overdue:
    """A phase that has lasted longer than it may, in seconds."""

    phase: Phase
    step: int
    limit: float


def limit(phase: Phase, steps: Sequence[float], patience: Patience) -> float:
    """Return how long a phase may last, given how long the steps so far took.

    Sampling rollouts and learning from them share the time of a step.
    """
    if phase is Phase.STARTING:
        return patience.starting
    if phase is Phase.CHECKPOINT:
        return patience.checkpoint
    return max(patience.step, FACTOR * median(steps)) if steps else patience.step


class Watchdog:
    """Follows one attempt by what it says. It has no clock: its caller counts the seconds.

    Time in which nobody could have heard the attempt is not to be counted.
    """

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._steps: deque[float] = deque(maxlen=_REMEMBERED)
        self._part: tuple[Phase, int] = (Phase.STARTING, 0)
        self._lasted = 0.0

    def look(self, phase: Phase, step: int, *, passed: float) -> Overdue | None:
        """Take in what an attempt says `passed` seconds after the last look; is it overdue?

        `step` is how many steps have ended.
        """
        self._lasted += passed
        # One part of an attempt has one clock.
        part = (Phase.STEP if phase is Phase.ROLLOUTS else phase, step)
        if part != self._part:
            self._note_steps(*part)
            self._part, self._lasted = part, 0.0
            return None
        most = limit(phase, self._steps, self._patience)
        return Overdue(phase, step, most) if self._lasted > most else None

    def _note_steps(self, phase: Phase, step: int) -> None:
        before, step_before = self._part
        made = step - step_before
        # Several may have ended between two looks.
        if before is Phase.STEP and made > 0 and phase is not Phase.STARTING:
            self._steps.extend([self._lasted / made] * min(made, _REMEMBERED))
