"""The worker: leases runs one at a time, and watches over the process that trains each.

It imports no torch. Whatever happens to a training process, its worker lives, and says what it saw.
"""

import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from filelock import FileLock, Timeout

from freesolo import processes
from freesolo.domain.worker_env import THREAD_VARIABLES
from freesolo.errors import AlreadyRunning, Conflict, FreesoloError, NotFound, Unavailable
from freesolo.schemas.leases import Failure, Lease
from freesolo.schemas.runs import RunError
from training_backend.hub import LeaseHub
from training_backend.settings import TrainingSettings

logger = logging.getLogger(__name__)

LEASE_FILE = "lease.json"
# Where `freesolo down` looks too, for a job whose worker was killed.
_RECORDS = "run"
_LOG = "job.log"
_GRACE = 10.0
_TICK = 0.1
_LONGEST_PAUSE = 10.0
_LOG_TAIL = 4000

# A waiting thread that spins takes the core from the engine and the environment beside it.
_JOB_ENVIRONMENT = {
    "OMP_WAIT_POLICY": "passive",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
}


class End(StrEnum):
    """Why a worker stopped watching a training process."""

    EXITED = "exited"
    CANCELLED = "cancelled"
    LEASE_LOST = "lease lost"
    STOPPING = "stopping"


@dataclass(frozen=True)
class Job:
    """A training process, its record, and the folder of its attempt."""

    process: subprocess.Popen[bytes]
    record: Path
    folder: Path

    def stop(self) -> None:
        """End the process with everything it started."""
        processes.stop_recorded(self.record, grace=_GRACE)
        self.process.wait()


class Worker:
    """Runs until `stop` is set. One worker has a work folder to itself."""

    def __init__(self, hub: LeaseHub, settings: TrainingSettings, stop: threading.Event) -> None:
        self._hub = hub
        self._settings = settings
        self._stop = stop

    def run_forever(self) -> None:
        """Train one run after the other. Raise `AlreadyRunning` if the work folder is taken."""
        self._settings.work_dir.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self._settings.work_dir / "worker.lock")
        try:
            with lock.acquire(blocking=False):
                self._sweep()
                self._loop()
        except Timeout:
            raise AlreadyRunning(
                f"Another worker uses the folder {self._settings.work_dir}.",
                hint="Give each its own: FREESOLO_TRAIN_WORK_DIR.",
            ) from None

    def _loop(self) -> None:
        pause = self._settings.poll_seconds
        while not self._stop.is_set():
            try:
                lease = self._hub.claim(self._settings.worker_id)
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
            job, end = self._train(lease)
            facts |= {"end": str(end), "exit": job.process.returncode}
            self._tell(lease, job, end)
            shutil.rmtree(job.folder)
        except Exception as error:
            # A full disk, say. The run finds another worker, or this one again; it lives.
            logger.exception("attempt abandoned", extra=facts)
            self._abandon(lease, error)
            self._stop.wait(self._settings.poll_seconds)
        else:
            logger.info("attempt over", extra=facts)

    def _train(self, lease: Lease) -> tuple[Job, End]:
        job = self._start(lease)
        try:
            return job, self._watch(lease, job)
        finally:
            job.stop()

    def _start(self, lease: Lease) -> Job:
        name = f"{lease.run_id}-{lease.attempt}"
        folder = self._settings.work_dir / name
        record = self._records / f"{name}.json"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        lease_file = folder / LEASE_FILE
        lease_file.touch(mode=0o600)
        lease_file.write_text(lease.model_dump_json())
        process = processes.start(
            [sys.executable, "-m", "training_backend", "job", str(lease_file)],
            env=job_environment(lease, self._settings),
            log=folder / _LOG,
            record=record,
        )
        return Job(process, record, folder)

    def _watch(self, lease: Lease, job: Job) -> End:
        """Keep the lease alive while the process lives; return why that ended."""
        beat_at = time.monotonic()
        while job.process.poll() is None:
            if self._stop.is_set():
                return End.STOPPING
            if time.monotonic() >= beat_at:
                if (end := self._beat(lease)) is not None:
                    return end
                beat_at = time.monotonic() + lease.lease_seconds / 3
            self._stop.wait(_TICK)
        return End.EXITED

    def _beat(self, lease: Lease) -> End | None:
        try:
            return End.CANCELLED if self._hub.heartbeat(lease).cancel_requested else None
        except (Conflict, NotFound):
            return End.LEASE_LOST
        except FreesoloError as error:
            # The lease may be lost meanwhile; the hub will say so when it is back.
            logger.warning("no answer to a heartbeat", extra={"reason": error.message})
            return None

    def _tell(self, lease: Lease, job: Job, end: End) -> None:
        try:
            if end in (End.CANCELLED, End.STOPPING):
                self._hub.release(lease)
            elif end is End.EXITED and job.process.returncode != 0:
                self._hub.fail(lease, Failure(error=post_mortem(job), retry=True))
        except Conflict:
            # The process had told the outcome itself, or the run is somebody else's now.
            logger.info("lease over", extra={"run": lease.run_id})
        except Unavailable as error:
            logger.warning("outcome not told", extra={"reason": error.message})

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
        """End what a worker that was killed left running in this folder, and remove it."""
        for record in self._records.glob("*.json"):
            processes.stop_recorded(record, grace=_GRACE)
        for folder in self._settings.work_dir.glob("run-*"):
            shutil.rmtree(folder)

    @property
    def _records(self) -> Path:
        return self._settings.work_dir / _RECORDS


def job_environment(lease: Lease, settings: TrainingSettings) -> dict[str, str]:
    """Return the environment of a training process: the worker's, ours, and what its config sets."""
    wanted = lease.spec.worker_env
    threads = {
        name: str(min(int(wanted.get(name, settings.threads)), settings.threads))
        for name in THREAD_VARIABLES & {"OMP_NUM_THREADS", *wanted}
    }
    inherited = os.environ  # noqa: TID251 - handed on, not read
    return {**_JOB_ENVIRONMENT, **inherited, **wanted, **threads}


def post_mortem(job: Job) -> RunError:
    """Say how a training process died that reported nothing, with the end of its output."""
    code = job.process.returncode
    output = (job.folder / _LOG).read_bytes()[-_LOG_TAIL:].decode(errors="replace")
    return RunError(
        code=Unavailable.code,
        message=f"The training process {cause_of_death(code)}.",
        hint="It is tried again from its newest checkpoint.",
        traceback=output or None,
    )


def cause_of_death(exit_code: int) -> str:
    """Describe a process's exit code; a negative one is the number of a signal."""
    if exit_code == -signal.SIGKILL:
        return "was killed (SIGKILL), as the system does when memory runs out"
    if exit_code < 0:
        return f"was ended by {signal.Signals(-exit_code).name}"
    return f"ended with exit code {exit_code} without reporting an outcome"
