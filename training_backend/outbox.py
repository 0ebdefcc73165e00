"""What a job tells the hub: in order, from a thread of its own, however long the hub is away."""

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from freesolo.domain.watchdog import Phase
from freesolo.schemas.runs import NewEvent

_INTERVAL = 0.5
# Of the largest samples, about half of what a hub takes at once.
_BATCH = 100
# Deliveries hold checkpoints on the disk until they have arrived.
_MOST_DELIVERIES = 4

Send = Callable[[Sequence[NewEvent], Phase | None], None]


@dataclass(frozen=True)
class Delivery:
    """Something else than events that has its place among them, such as a checkpoint."""

    deliver: Callable[[], None]


class Outbox:
    """Sends events a batch at a time, and deliveries in their place among them.

    Nobody waits for the hub but `flush`, and `post` when deliveries pile up. What goes wrong comes out
    of the next call, once, so that the report about it is not kept from being sent; what could not be
    sent is lost.
    """

    def __init__(self, send: Send) -> None:
        self._send = send
        self._waiting: deque[NewEvent | Delivery] = deque()
        self._phase: Phase | None = None
        self._changed = threading.Condition()
        self._busy = False
        self._hurry = False
        self._failure: Exception | None = None
        self._sent_at = -math.inf
        # Whoever ends the process has waited for what matters.
        threading.Thread(target=self._run, name="outbox", daemon=True).start()

    def add(self, event: NewEvent, *, hurry: bool = False) -> None:
        """Queue an event; with `hurry` it does not wait for others to go with it."""
        with self._changed:
            self._raise_failure()
            self._waiting.append(event)
            self._hurry |= hurry
            self._changed.notify_all()

    def enter(self, phase: Phase) -> None:
        """Say what the job does now. Only the last word counts."""
        with self._changed:
            self._raise_failure()
            self._phase = phase
            self._changed.notify_all()

    def post(self, deliver: Callable[[], None]) -> None:
        """Queue a delivery; wait while there are too many."""
        with self._changed:
            self._changed.wait_for(lambda: self._failure or self._deliveries() < _MOST_DELIVERIES)
            self._raise_failure()
            self._waiting.append(Delivery(deliver))
            self._changed.notify_all()

    def flush(self) -> None:
        """Return when everything has arrived."""
        with self._changed:
            self._hurry = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._failure or self._is_empty())
            self._raise_failure()

    def _run(self) -> None:
        while True:
            with self._changed:
                while (pause := self._pause()) > 0:
                    self._changed.wait(None if pause == math.inf else pause)
                work = self._take()
                self._busy = True
            failure = None
            try:
                work()
            except Exception as error:  # noqa: BLE001
                # Whatever it is, the thread that trains hears of it.
                failure = error
            with self._changed:
                self._busy = False
                self._failure = failure or self._failure
                self._sent_at = time.monotonic()
                self._changed.notify_all()

    def _pause(self) -> float:
        """Return how long the thread has nothing to do."""
        if self._is_empty():
            self._hurry = False
            return math.inf
        if self._hurry or (self._waiting and isinstance(self._waiting[0], Delivery)):
            return 0.0
        return self._sent_at + _INTERVAL - time.monotonic()

    def _take(self) -> Callable[[], None]:
        first = self._waiting[0] if self._waiting else None
        if isinstance(first, Delivery):
            self._waiting.popleft()
            return first.deliver
        events: list[NewEvent] = []
        while self._waiting and len(events) < _BATCH:
            if isinstance(event := self._waiting[0], Delivery):
                break
            events.append(event)
            self._waiting.popleft()
        phase, self._phase = self._phase, None
        return lambda: self._send(events, phase)

    def _deliveries(self) -> int:
        return sum(isinstance(item, Delivery) for item in self._waiting)

    def _is_empty(self) -> bool:
        return not self._waiting and self._phase is None and not self._busy

    def _raise_failure(self) -> None:
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure
