"""What runs are trained on, by name: `cpu-2` for two cores, else as the maker calls an accelerator."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

_GIB = 2**30

# What the makers state, by a word of the name, the longer words first: "H100" is in "NVIDIA H100 PCIe".
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
        return not self.name.casefold().startswith("cpu")

    @property
    def cores(self) -> int:
        """How many cores a CPU's name tells; 2 where it tells none."""
        _, _, count = self.name.partition("-")
        return int(count) if count.isdigit() and int(count) else 2

    def answers_to(self, wanted: str | None) -> bool:
        """Say whether `[gpu] type` may mean this device: `h200` means `NVIDIA H200`."""
        return wanted is None or wanted.casefold() in self.name.casefold()


def named_device(name: str) -> Device:
    """Return what is known of a class of devices without having met one."""
    return Device(name, _known(name, _MEMORY))


def _known(name: str, table: Mapping[str, int]) -> int | None:
    words = name.casefold().replace("-", " ").split()
    return next((value for word, value in table.items() if word.casefold() in words), None)
