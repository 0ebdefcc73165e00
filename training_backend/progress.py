"""What a job tells the hub while it trains: events beside the work, checkpoints in its way."""

import math
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from freesolo.errors import FreesoloError
from freesolo.schemas.leases import Failure, Lease, NewCheckpoint, Started
from freesolo.schemas.provenance import Provenance, TrainingDevice
from freesolo.schemas.runs import EventKind, NewEvent, RunError
from training_backend.checkpoints import pack
from training_backend.hub import LeaseHub
from training_backend.origins import as_text, provenance
from training_backend.recipes.task import Sample
from training_backend.samples import due, spread, to_wire

_INTERVAL = 0.5
# Of the largest samples, about half of what a hub takes at once.
_BATCH = 100


class EventStream:
    """Sends events in order from a thread of its own, a batch at a time.

    Whatever `send` raises comes out of a later `add` or `flush`, once; its events are lost.
    """

    def __init__(self, send: Callable[[Sequence[NewEvent]], None]) -> None:
        self._send = send
        self._waiting: list[NewEvent] = []
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="events")
        self._sending: Future[None] | None = None
        self._sent_at = -math.inf

    def add(self, event: NewEvent) -> None:
        """Queue an event; it goes out now, or with the next one that comes half a second later."""
        self._waiting.append(event)
        idle = self._sending is None or self._sending.done()
        if idle and time.monotonic() - self._sent_at >= _INTERVAL:
            self._send_batch()

    def flush(self) -> None:
        """Return when every event has arrived."""
        while self._waiting:
            self._send_batch()
        self._wait()

    def _send_batch(self) -> None:
        self._wait()
        batch, self._waiting = self._waiting[:_BATCH], self._waiting[_BATCH:]
        self._sent_at = time.monotonic()
        self._sending = self._thread.submit(self._send, batch)

    def _wait(self) -> None:
        # An error is raised once: what made it must not stand in the way of the report about it.
        sending, self._sending = self._sending, None
        if sending is not None:
            sending.result()


class RunProgress:
    """The progress of one attempt, reported under its lease. A `recipes.task.Progress`."""

    def __init__(
        self, hub: LeaseHub, lease: Lease, *, device: Callable[[], TrainingDevice]
    ) -> None:
        self._hub = hub
        self._lease = lease
        self._device = device
        self._sent = 0
        self._total_steps = 0
        self._events = EventStream(self._send)
        self._made_by: Provenance | None = None

    def started(self, total_steps: int, *, sampler: str | None = None) -> None:
        """Say that the run trains now, and on what."""
        self._total_steps = total_steps
        self._made_by = provenance(self._lease, self._device(), sampler=sampler)
        self._hub.started(self._lease, Started(total_steps=total_steps, provenance=self._made_by))

    def log(self, message: str) -> None:
        """Send a line to the run's owner, who may see nothing else for a while: it does not wait."""
        self._events.add(NewEvent(kind=EventKind.LOG, data={"message": message}))
        self._events.flush()

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Send the measurements of a step. A value that is not finite has no JSON and stays out."""
        finite = {name: value for name, value in values.items() if math.isfinite(value)}
        self._events.add(NewEvent(kind=EventKind.METRICS, step=step, data=dict(finite)))

    def samples(self, step: int, samples: Sequence[Sample]) -> None:
        """Send the rollouts of a step that are worth keeping, the worst first."""
        if not due(step, self._total_steps):
            return
        for sample in spread(samples):
            data = to_wire(sample).model_dump(mode="json")
            self._events.add(NewEvent(kind=EventKind.SAMPLE, step=step, data=data))

    def checkpoint(self, step: int, folder: Path) -> None:
        """Store a checkpoint, then record it: one whose blobs are missing never exists."""
        if self._made_by is None:
            raise ValueError("A run that has not started has no checkpoint")
        packed = pack(folder, base_model=self._lease.model.id, provenance=as_text(self._made_by))
        self._events.flush()
        self._hub.add_checkpoint(
            self._lease,
            NewCheckpoint(
                step=step,
                adapter=self._hub.store(packed.adapter),
                state=self._hub.store(packed.state),
            ),
        )
        shutil.rmtree(folder)

    def complete(self, step: int) -> None:
        """End the run well, with the checkpoint of `step` as its result."""
        self._events.flush()
        self._hub.complete(self._lease, step)

    def fail(self, error: FreesoloError) -> None:
        """End the run with a reason its owner can act on."""
        self._events.flush()
        reason = RunError(
            code=error.code,
            message=error.message,
            hint=error.hint,
            traceback=error.traceback,
        )
        self._hub.fail(self._lease, Failure(error=reason))

    def _send(self, events: Sequence[NewEvent]) -> None:
        self._hub.send_events(self._lease, events, first=self._sent)
        self._sent += len(events)
