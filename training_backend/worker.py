"""The worker: leases runs, and watches over the attempt at each.

It imports no torch. Whatever happens to a training process, its worker lives, and says what it saw.
"""

import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from enum import StrEnum

from filelock import FileLock, Timeout

from freesolo.domain.devices import Devices
from freesolo.domain.watchdog import Overdue, Phase, Watchdog
from freesolo.errors import AlreadyRunning, Conflict, FreesoloError, NotFound, Unavailable
from freesolo.schemas.leases import Failure, Lease
from freesolo.schemas.runs import RunError
from training_backend.executors import Attempt, Executor
from training_backend.hub import LeaseHub
from training_backend.post_mortem import Exit, explain_exit, explain_loss, explain_stall
from training_backend.settings import TrainingSettings

logger = logging.getLogger(__name__)

_TICK = 0.1
# How soon a cancelled run is heard of, and how exactly a hung one is timed.
_LOOK_SECONDS = 0.5
_LONGEST_PAUSE = 10.0


class Stop(StrEnum):
    """Why a worker ends an attempt that has not ended by itself."""

    CANCELLED = "cancelled"
    LEASE_LOST = "lease lost"
    STOPPING = "stopping"


# How an attempt came to its end: by itself, because it hung, or because it was not to go on.
End = Exit | Overdue | Stop


class Worker:
    """Runs until `stop` is set. One worker has a work folder to itself."""

    def __init__(
        self,
        hub: LeaseHub,
        executor: Executor,
        settings: TrainingSettings,
        *,
        devices: Devices,
        stop: threading.Event,
    ) -> None:
        self._hub = hub
        self._executor = executor
        self._settings = settings
        self._devices = devices
        self._stop = stop

    def run_forever(self) -> None:
        """Train runs, as many at once as the settings say.

        Raise `AlreadyRunning` if the work folder is taken.
        """
        self._settings.work_dir.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self._settings.work_dir / "worker.lock")
        try:
            lock.acquire(blocking=False)
        except Timeout:
            raise AlreadyRunning(
                f"Another worker uses the folder {self._settings.work_dir}.",
                hint="Give each its own: FREESOLO_TRAIN_WORK_DIR.",
            ) from None
        with lock, ThreadPoolExecutor(self._settings.concurrency, "run") as slots:
            self._sweep()
            for ended in [slots.submit(self._loop) for _ in range(self._settings.concurrency)]:
                ended.result()

    def _loop(self) -> None:
        pause = self._settings.poll_seconds
        while not self._stop.is_set():
            try:
                lease = self._hub.claim(self._settings.worker_id, self._devices)
            except FreesoloError as error:
                pause = min(2 * pause, _LONGEST_PAUSE)
                logger.warning("no answer to a claim", extra={"reason": error.message})
                self._stop.wait(pause)
                continue
            pause = self._settings.poll_seconds
            if lease is None:
                self._stop.wait(pause)
            else:
                self._attend(lease)

    def _attend(self, lease: Lease) -> None:
        facts = {"run": lease.run_id, "attempt": lease.attempt}
        logger.info("lease claimed", extra=facts)
        try:
            attempt = self._executor.start(lease)
            try:
                end = Watch(self._hub, lease, attempt, self._settings, self._stop).until_end()
            finally:
                attempt.stop()
            logger.info("attempt over", extra={**facts, "end": str(end)})
            self._tell(lease, attempt, end)
            attempt.forget()
        except Exception as error:
            # A full disk, say. The run finds another worker, or this one again; it lives.
            logger.exception("attempt abandoned", extra=facts)
            self._abandon(lease, error)
            self._stop.wait(self._settings.poll_seconds)

    def _tell(self, lease: Lease, attempt: Attempt, end: End) -> None:
        """Tell the hub how an attempt ended, however long it is away; a worker that stops says it once."""
        while True:
            try:
                self._tell_once(lease, attempt, end)
            except (Conflict, NotFound):
                # The process had told the outcome itself, or the run is somebody else's now.
                logger.info("lease over", extra={"run": lease.run_id})
            except Unavailable as error:
                logger.warning("outcome not told", extra={"reason": error.message})
                if not self._stop.wait(self._settings.poll_seconds):
                    continue
            return

    def _tell_once(self, lease: Lease, attempt: Attempt, end: End) -> None:
        if isinstance(end, Overdue):
            error = explain_stall(end, attempt.log_tail())
            self._hub.fail(lease, Failure(error=error, retry=True))
        elif isinstance(end, Exit):
            error = explain_exit(end, attempt.log_tail())
            if not end.began and not end.refused:
                # Nothing was tried: there was no room for it.
                self._hub.release(lease, reason=error)
            elif end.code != 0:
                self._hub.fail(lease, Failure(error=error, retry=True))
        elif end is not Stop.LEASE_LOST:
            self._hub.release(lease)

    def _abandon(self, lease: Lease, error: Exception) -> None:
        reason = RunError(
            code=Unavailable.code,
            message=f"The worker {self._settings.worker_id} could not see to the run: {error}.",
            hint="Free some space in its work folder, or mend what the message names.",
        )
        # Where the hub does not hear of it, the lease runs out.
        with suppress(FreesoloError):
            self._hub.fail(lease, Failure(error=reason, retry=True))

    def _sweep(self) -> None:
        """End what a worker that was killed left running, and give its runs back at once."""
        for lease in self._executor.sweep():
            lost = explain_loss(self._settings.worker_id, lease.attempt)
            # Where the hub does not hear of it, the lease runs out.
            with suppress(FreesoloError):
                self._hub.fail(lease, Failure(error=lost, retry=True))


class Watch:
    """Keeps one lease alive while its attempt lives, and looks whether that goes on as it should."""

    def __init__(
        self,
        hub: LeaseHub,
        lease: Lease,
        attempt: Attempt,
        settings: TrainingSettings,
        stop: threading.Event,
    ) -> None:
        self._hub = hub
        self._lease = lease
        self._attempt = attempt
        self._stop = stop
        self._watchdog = Watchdog(settings.patience)
        self._beat_at = self._look_at = time.monotonic()
        self._heard_at: float | None = None

    def until_end(self) -> End:
        """Return when the attempt has ended, or is to be ended, and why."""
        while (ended := self._attempt.poll()) is None:
            if self._stop.is_set():
                return Stop.STOPPING
            try:
                if (end := self._turn(time.monotonic())) is not None:
                    return end
            except (Conflict, NotFound):
                return Stop.LEASE_LOST
            except FreesoloError as error:
                # Training goes on. The lease may be lost meanwhile; the hub will say so when it is
                # back. What nobody could hear is not held against the attempt.
                self._heard_at = None
                logger.warning("the hub does not answer", extra={"reason": error.message})
            self._stop.wait(_TICK)
        return ended

    def _turn(self, now: float) -> End | None:
        if now >= self._look_at:
            self._look_at = now + _LOOK_SECONDS
            if (end := self._look()) is not None:
                return end
        if now >= self._beat_at:
            # Only once it has arrived is there time until the next one.
            if self._hub.heartbeat(self._lease).cancel_requested:
                return Stop.CANCELLED
            self._beat_at = now + self._lease.lease_seconds / 3
        return None

    def _look(self) -> End | None:
        status = self._hub.look(self._lease)
        if status.cancel_requested:
            return Stop.CANCELLED
        now = time.monotonic()
        passed = 0.0 if self._heard_at is None else now - self._heard_at
        self._heard_at = now
        if not self._attempt.has_begun():
            return None
        return self._watchdog.look(status.phase or Phase.STARTING, status.step, passed=passed)
