"""The machine that a job is on: what it trains on, and how much memory is free for it."""

from dataclasses import dataclass
from pathlib import Path

import psutil

from freesolo.domain.devices import CPU, cpu_with
from freesolo.schemas.leases import TrainedOn
from freesolo.schemas.provenance import TrainingDevice

_CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Machine:
    """What a job trains on. `memory` is all there is, `free` what this process may take; bytes.

    `instructions` are those of a CPU that its sums are made with, None on an accelerator.
    """

    name: str
    gpu: bool
    memory: int
    free: int
    threads: int
    instructions: str | None = None

    @property
    def trained_on(self) -> TrainedOn:
        """What estimates learn from: its class, and what fits into it."""
        return TrainedOn(name=self.name, memory=self.memory)

    @property
    def origin(self) -> TrainingDevice:
        """What results depend on."""
        kind = self.name if self.gpu else CPU
        return TrainingDevice(kind=kind, instructions=self.instructions, threads=self.threads)


def find_machine() -> Machine:
    """Look at the accelerator, or at the processor and its memory if there is none."""
    # Seconds, which what fails before training need not wait for.
    import torch  # noqa: PLC0415

    threads = torch.get_num_threads()
    if torch.cuda.is_available():
        free, memory = torch.cuda.mem_get_info()
        name = torch.cuda.get_device_name()
        return Machine(name, gpu=True, memory=memory, free=free, threads=threads)
    system, own = psutil.virtual_memory(), psutil.Process().memory_info().rss
    memory, free = within_cgroup(system.total, system.available, _CGROUP)
    return Machine(
        cpu_with(threads),
        gpu=False,
        memory=memory,
        free=free + own,
        threads=threads,
        instructions=torch.backends.cpu.get_cpu_capability(),
    )


def within_cgroup(memory: int, free: int, cgroup: Path) -> tuple[int, int]:
    """Return what a container's limit leaves of a machine's memory, and of what is free of it."""
    limit, used = _number(cgroup / "memory.max"), _number(cgroup / "memory.current")
    if limit is None or used is None or limit >= memory:
        return memory, free
    # What was read from files is counted as used, and given up as soon as it is wanted.
    return limit, min(free, limit - max(0, used - _inactive(cgroup / "memory.stat")))


def _inactive(file: Path) -> int:
    """Return the bytes of files that nobody has read lately."""
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return 0
    counts = dict(line.split(maxsplit=1) for line in lines)
    return int(counts.get("inactive_file", 0))


def _number(file: Path) -> int | None:
    """Return the number in a file of the kernel's; None without it, or where it says `max`."""
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return None
