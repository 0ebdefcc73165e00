"""The machine that a job is on: what it trains on, and how much memory is free for it."""

from dataclasses import dataclass
from pathlib import Path

import psutil

_CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Machine:
    """What a job trains on. `memory` is all there is, `free` what this process may take; bytes."""

    name: str
    gpu: bool
    memory: int
    free: int


def find_machine() -> Machine:
    """Look at the accelerator, or at the processor and its memory if there is none."""
    # Seconds, which what fails before training need not wait for.
    import torch  # noqa: PLC0415

    if torch.cuda.is_available():
        free, memory = torch.cuda.mem_get_info()
        return Machine(torch.cuda.get_device_name(), gpu=True, memory=memory, free=free)
    system, own = psutil.virtual_memory(), psutil.Process().memory_info().rss
    memory, free = within_cgroup(system.total, system.available, _CGROUP)
    name = f"cpu-{torch.get_num_threads()}"
    return Machine(name, gpu=False, memory=memory, free=free + own)


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
