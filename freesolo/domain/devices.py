"""Which runs a worker can serve: the devices it has, and those a run asks for."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

CPU = "cpu"


@dataclass(frozen=True)
class Devices:
    """So many devices of a class: what a worker has, or with `type` None for any, what a run needs."""

    type: str | None
    count: int

    @property
    def is_cpu(self) -> bool:
        """Whether they are no accelerators."""
        return self.type is not None and self.type.lower() == CPU

    def __str__(self) -> str:
        """Write them as people say them, such as `2 x H200`."""
        return f"{self.count} x {self.type or 'any device'}"


def can_serve(has: Devices, needs: Devices) -> bool:
    """Say whether a worker's devices are what a run asks for.

    Every word of the wanted class must be one of the device's name: `A100` is a
    `NVIDIA A100-SXM4-80GB`, and so is `a100-80gb`, but `H100` is no `H200`.
    """
    fits = needs.type is None or _words(needs.type) <= _words(has.type or "")
    return fits and needs.count <= has.count


def why_none_serves(needs: Devices, workers: Iterable[Devices]) -> str | None:
    """Say why a run will wait, given the devices of all known workers; None if one can serve it."""
    known = list(workers)
    if any(can_serve(has, needs) for has in known):
        return None
    if not known:
        return "No worker is known to this hub; the run waits until one asks for work."
    offered = ", ".join(sorted({str(has) for has in known}))
    return f"No known worker has {needs}; there are: {offered}. The run waits until one has."


def _words(name: str) -> set[str]:
    return set(re.findall(r"[a-z0-9]+", name.lower()))
