"""What runs are trained on, by class: `cpu-2` for two cores, else as the maker calls an accelerator."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

CPU = "cpu"
_GIB = 2**30

# What the makers state, by a word of the name.
_MEMORY: Mapping[str, int] = MappingProxyType(
    {
        "B200": 180 * _GIB,
        "H200": 141 * 10**9,
        "H100": 80 * _GIB,
        "A6000": 48 * _GIB,
        "L40S": 48 * _GIB,
        "A10G": 24 * _GIB,
        "L4": 24 * _GIB,
        "T4": 16 * _GIB,
    }
)


@dataclass(frozen=True)
class Device:
    """A class of machines. `memory` is in bytes, None where nobody has told it yet."""

    name: str
    memory: int | None = None

    @property
    def gpu(self) -> bool:
        """Whether it has an accelerator."""
        return not _is_cpu(self.name)

    @property
    def cores(self) -> int:
        """How many cores a CPU's name tells; 2 where it tells none."""
        _, _, count = self.name.partition("-")
        return int(count) if count.isdigit() and int(count) else 2


@dataclass(frozen=True)
class Devices:
    """So many devices of a class: what a worker has. Each run gets one of them."""

    type: str
    count: int

    @property
    def is_cpu(self) -> bool:
        """Whether they are no accelerators."""
        return _is_cpu(self.type)

    def __str__(self) -> str:
        """Write them as people say them, such as `2 x H200`."""
        return f"{self.count} x {self.type}"


def cpu_with(cores: int) -> str:
    """Return the class of a machine without an accelerator, of which a run gets so many cores."""
    return f"{CPU}-{cores}"


def answers_to(name: str, wanted: str | None) -> bool:
    """Say whether a class of devices is one that a run's `[gpu] type` means.

    Every word of what is wanted must be one of the name: `A100` is a `NVIDIA A100-SXM4-80GB`, and so
    is `a100-80gb`, but `H100` is no `H200`.
    """
    return wanted is None or _words(wanted) <= _words(name)


def why_none_serves(wanted: str | None, workers: Iterable[Devices]) -> str | None:
    """Say why a run will wait, given the devices of all known workers; None if one can serve it."""
    known = list(workers)
    if any(answers_to(has.type, wanted) for has in known):
        return None
    if not known:
        return "No worker is known to this hub; the run waits until one asks for work."
    offered = ", ".join(sorted({str(has) for has in known}))
    return f"No known worker has {wanted!r}; there are: {offered}. The run waits until one has."


def named_device(name: str) -> Device:
    """Return what is known of a class of devices without having met one."""
    known = (size for word, size in _MEMORY.items() if answers_to(name, word))
    return Device(name, next(known, None))


def _is_cpu(name: str) -> bool:
    return CPU in _words(name)


def _words(name: str) -> set[str]:
    return set(re.findall(r"[a-z0-9]+", name.lower()))
