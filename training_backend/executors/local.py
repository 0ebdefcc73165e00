"""Attempts as child processes of the worker."""

import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue

import psutil
from pydantic import ValidationError

from freesolo import processes
from freesolo.errors import Unavailable
from freesolo.schemas.leases import Lease
from training_backend.executors.environment import job_environment
from training_backend.post_mortem import Exit, Memory
from training_backend.settings import TrainingSettings

LEASE_FILE = "lease.json"
# Where `freesolo down` looks too, for a job whose worker was killed.
RECORDS = "run"
_LOG = "job.log"
_LOG_TAIL = 4000
# Nothing in a job waits for a signal; this is for a system that is slow.
_GRACE = 10.0
_LOOK_SECONDS = 1.0
_VMSTAT = Path("/proc/vmstat")
_CGROUP_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


class LocalExecutor:
    """Starts each attempt as a process with a folder of its own in the worker's. An `Executor`.

    Each has one of `slots` to itself: what its process is told of the machine's devices.
    """

    def __init__(
        self,
        settings: TrainingSettings,
        environ: Mapping[str, str],
        slots: Sequence[Mapping[str, str]],
    ) -> None:
        self._settings = settings
        self._environ = environ
        self._free: SimpleQueue[Mapping[str, str]] = SimpleQueue()
        for slot in slots:
            self._free.put(slot)

    def start(self, lease: Lease) -> "LocalAttempt":
        """Start the attempt that a lease is for."""
        try:
            slot = self._free.get_nowait()
        except Empty:
            # A process that could not be ended may still be on its device.
            raise Unavailable("No device of this worker is free.") from None
        with ExitStack() as held:
            held.callback(self._free.put, slot)
            return self._start(lease, slot, held)

    def _start(self, lease: Lease, slot: Mapping[str, str], held: ExitStack) -> "LocalAttempt":
        name = f"{lease.run_id}-{lease.attempt}"
        folder = self._settings.work_dir / name
        record = self._settings.work_dir / RECORDS / f"{name}.json"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        write_lease(folder / LEASE_FILE, lease)
        process = processes.start(
            [sys.executable, "-m", "training_backend", "job", str(folder / LEASE_FILE)],
            env={**job_environment(lease, self._environ, threads=self._settings.threads), **slot},
            log=folder / _LOG,
            record=record,
        )
        return LocalAttempt(process, record, folder, held=held.pop_all())

    def sweep(self) -> Sequence[Lease]:
        """End what a worker that was killed left running in this folder, and remove it."""
        for record in (self._settings.work_dir / RECORDS).glob("*.json"):
            processes.stop_recorded(record, grace=_GRACE)
        leases = []
        for folder in self._settings.work_dir.glob("run-*"):
            leases += read_lease(folder / LEASE_FILE)
            shutil.rmtree(folder)
        return leases


@dataclass
class LocalAttempt:
    """A training process, its record, and the folder of its attempt. An `Attempt`.

    `held` is what it has of the machine until it is over.
    """

    process: subprocess.Popen[bytes]
    record: Path
    folder: Path
    held: ExitStack
    _peak: int = 0
    _looked_at: float = 0.0
    _kills_before: int = field(default_factory=lambda: _memory_kills())

    def poll(self) -> Exit | None:
        """Return how the process ended, or None while it lives."""
        code = self.process.poll()
        if code is None:
            if time.monotonic() >= self._looked_at + _LOOK_SECONDS:
                self._looked_at = time.monotonic()
                self._peak = max(self._peak, _memory_in_use(self.process.pid))
            return None
        memory = Memory(self._peak, _memory_limit(), _memory_kills() - self._kills_before)
        return Exit(code, memory=memory, disk_free=shutil.disk_usage(self.folder).free)

    def has_begun(self) -> bool:
        """A child process runs at once."""
        return True

    def stop(self) -> None:
        """End the process with everything it started."""
        processes.stop_recorded(self.record, grace=_GRACE)
        self.process.wait()
        self.held.close()

    def log_tail(self) -> str:
        """Return the end of what the process printed."""
        return (self.folder / _LOG).read_bytes()[-_LOG_TAIL:].decode(errors="replace")

    def forget(self) -> None:
        """Remove the attempt's folder."""
        shutil.rmtree(self.folder)


def write_lease(path: Path, lease: Lease) -> None:
    """Write a lease so that only its owner can read it."""
    path.touch(mode=0o600)
    path.write_text(lease.model_dump_json())


def read_lease(path: Path) -> list[Lease]:
    """Return the lease in a file; none if it is missing or was half written."""
    with suppress(OSError, ValidationError):
        return [Lease.model_validate_json(path.read_text())]
    return []


def _memory_in_use(pid: int) -> int:
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0


def _memory_kills() -> int:
    """Return how often the system has killed a process for lack of memory, 0 where it does not say."""
    return int(_counters(_VMSTAT).get("oom_kill", "0"))


def _counters(path: Path) -> Mapping[str, str]:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return {}
    return dict(line.split(maxsplit=1) for line in lines)


def _memory_limit() -> int:
    """Return how much memory there is for us: the machine's, or a container's part of it."""
    limits = [psutil.virtual_memory().total]
    for path in _CGROUP_LIMITS:
        # The first kind says `max` for none, the second a number beyond all machines.
        with suppress(OSError, ValueError):
            limits.append(int(path.read_text()))
    return min(limits)
