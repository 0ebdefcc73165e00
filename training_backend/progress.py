"""What a job tells the hub while it trains. It trains on meanwhile, also while the hub is away."""

import logging
import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from freesolo.domain.watchdog import Phase
from freesolo.errors import FreesoloError, HubUnavailable, LeaseLost
from freesolo.schemas.leases import Failure, Lease, NewCheckpoint
from freesolo.schemas.runs import EventKind, NewEvent, RunError
from training_backend.checkpoints import Packed, pack
from training_backend.hub import LeaseHub
from training_backend.outbox import Outbox

logger = logging.getLogger(__name__)


class RunProgress:
    """The progress of one attempt, reported under its lease. A `recipes.task.Progress`."""

    def __init__(self, hub: LeaseHub, lease: Lease) -> None:
        self._hub = hub
        self._lease = lease
        self._sent = 0
        self._outbox = Outbox(self._send)
        self._outbox.enter(Phase.STARTING)

    def started(self, total_steps: int) -> None:
        """Say that the run trains now."""
        self._outbox.post(lambda: self._hub.started(self._lease, total_steps))
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

    def checkpoint(self, step: int, folder: Path) -> None:
        """Take over what the trainer saved; it is stored while training goes on.

        Its blobs are stored before it is recorded: one whose blobs are missing never exists.
        """
        self._outbox.enter(Phase.CHECKPOINT)
        packed = pack(folder, self._lease)
        self._outbox.post(lambda: self._store(step, packed, folder))
        self._outbox.enter(Phase.STEP)

    def complete(self, step: int) -> None:
        """End the run well, with the checkpoint of `step` as its result."""
        self._outbox.enter(Phase.CHECKPOINT)
        self._outbox.flush()
        self._hub.complete(self._lease, step)

    def fail(self, error: FreesoloError, *, log: str | None = None) -> None:
        """End the run with a reason its owner can act on, and a last line for its log.

        What of the rest cannot be told must not keep the reason from being told.
        """
        try:
            if log is not None:
                self.log(log)
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
