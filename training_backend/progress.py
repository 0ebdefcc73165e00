"""What a job tells the hub while it trains. It trains on meanwhile, also while the hub is away."""

import logging
import math
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from freesolo.domain.watchdog import Phase
from freesolo.errors import FreesoloError, HubUnavailable, LeaseLost
from freesolo.runtime.venvs import Installed
from freesolo.schemas.leases import Failure, Lease, NewCheckpoint, Started
from freesolo.schemas.provenance import Provenance
from freesolo.schemas.runs import EventKind, NewEvent, RunError
from training_backend.checkpoints import Packed, pack
from training_backend.hub import LeaseHub
from training_backend.machine import Machine
from training_backend.origins import as_text, provenance
from training_backend.outbox import Outbox
from training_backend.recipes.task import Sample
from training_backend.samples import due, spread, to_wire
from training_backend.trackers import TrackerThread

logger = logging.getLogger(__name__)
# How long the end of a run waits for its trackers.
_TRACKER_SECONDS = 30.0


class RunProgress:
    """The progress of one attempt, reported under its lease. A `recipes.task.Progress`."""

    def __init__(self, hub: LeaseHub, lease: Lease, *, find_machine: Callable[[], Machine]) -> None:
        self._hub = hub
        self._lease = lease
        self._find_machine = find_machine
        self._sent = 0
        self._total_steps = 0
        self._made_by: Provenance | None = None
        self._outbox = Outbox(self._send)
        self._outbox.enter(Phase.STARTING)
        self._trackers: Sequence[TrackerThread] = ()
        self._environment: Installed | None = None

    def track(self, trackers: Sequence[TrackerThread]) -> None:
        """Tell `trackers` of every step from now on, and how the run ends."""
        self._trackers = trackers

    def opened(self, environment: Installed) -> None:
        """Note what the environment's code runs with, which is part of what makes an adapter."""
        self._environment = environment

    def started(self, total_steps: int, *, sampler: str | None = None) -> None:
        """Say that the run trains now, and on what."""
        self._total_steps = total_steps
        machine = self._find_machine()
        self._made_by = provenance(
            self._lease, machine.origin, environment=self._environment, sampler=sampler
        )
        told = Started(total_steps=total_steps, provenance=self._made_by, device=machine.trained_on)
        self._outbox.post(lambda: self._hub.started(self._lease, told))
        self._outbox.enter(Phase.STEP)

    def phase(self, phase: Phase) -> None:
        """Say what the attempt is doing now."""
        self._outbox.enter(phase)

    def log(self, message: str) -> None:
        """Send a line to the run's owner, who may see nothing else for a while: it does not wait."""
        self._outbox.add(NewEvent(kind=EventKind.LOG, data={"message": message}), hurry=True)

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Send the measurements of a step. A value that is not finite has no JSON and stays out."""
        finite = {name: value for name, value in values.items() if math.isfinite(value)}
        self._outbox.add(NewEvent(kind=EventKind.METRICS, step=step, data=dict(finite)))
        for tracker in self._trackers:
            tracker.log(step, finite)
        self._tell_trouble()

    def samples(self, step: int, samples: Sequence[Sample]) -> None:
        """Send the rollouts of a step that are worth keeping, the worst first."""
        if not due(step, self._total_steps):
            return
        for sample in spread(samples):
            data = to_wire(sample).model_dump(mode="json")
            self._outbox.add(NewEvent(kind=EventKind.SAMPLE, step=step, data=data))

    def checkpoint(self, step: int, folder: Path) -> None:
        """Take over what the trainer saved; it is stored while training goes on.

        Its blobs are stored before it is recorded: one whose blobs are missing never exists.
        """
        if self._made_by is None:
            raise ValueError("A run that has not started has no checkpoint")
        self._outbox.enter(Phase.CHECKPOINT)
        packed = pack(folder, base_model=self._lease.model.id, provenance=as_text(self._made_by))
        self._outbox.post(lambda: self._store(step, packed, folder))
        self._outbox.enter(Phase.STEP)

    def complete(self, step: int) -> None:
        """End the run well, with the checkpoint of `step` as its result."""
        self._outbox.enter(Phase.CHECKPOINT)
        self._finish_trackers(failed=False)
        self._outbox.flush()
        self._hub.complete(self._lease, step)

    def fail(self, error: FreesoloError, *, log: str | None = None) -> None:
        """End the run with a reason its owner can act on, and a last line for its log.

        What of the rest cannot be told must not keep the reason from being told.
        """
        try:
            if log is not None:
                self.log(log)
            self._finish_trackers(failed=True)
            self._outbox.flush()
        except (LeaseLost, HubUnavailable):
            raise
        except FreesoloError as lost:
            logger.warning("not told", extra={"reason": lost.message})
        reason = RunError(
            code=error.code,
            message=error.message,
            hint=error.hint,
            traceback=error.traceback,
        )
        self._hub.fail(self._lease, Failure(error=reason))

    def _finish_trackers(self, *, failed: bool) -> None:
        trackers, until = self._trackers, time.monotonic() + _TRACKER_SECONDS
        for tracker in trackers:
            tracker.finish(failed=failed, seconds=max(0.0, until - time.monotonic()))
        self._tell_trouble()
        self._trackers = ()

    def _tell_trouble(self) -> None:
        for tracker in self._trackers:
            if (trouble := tracker.trouble()) is not None:
                self.log(trouble)

    def _store(self, step: int, packed: Packed, folder: Path) -> None:
        point = NewCheckpoint(
            step=step,
            adapter=self._hub.store(packed.adapter),
            state=self._hub.store(packed.state),
        )
        self._hub.add_checkpoint(self._lease, point)
        shutil.rmtree(folder)

    def _send(self, events: Sequence[NewEvent], phase: Phase | None) -> None:
        self._hub.send_events(self._lease, events, first=self._sent, phase=phase)
        self._sent += len(events)
