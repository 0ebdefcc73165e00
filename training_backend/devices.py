"""What a worker can train on, told by its settings or found, without importing torch."""

import subprocess
from collections import Counter

from freesolo.domain.devices import Devices, cpu_with
from training_backend.settings import TrainingSettings

_QUERY = ("nvidia-smi", "--query-gpu=name", "--format=csv,noheader")
_SECONDS = 20.0


def find_devices(settings: TrainingSettings) -> Devices:
    """Return the devices that a run can have of this worker: one on a CPU, all accelerators else."""
    if settings.device_type is not None:
        return Devices(settings.device_type, settings.device_count or 1)
    found = devices_of(_list_accelerators()) or Devices(cpu_with(settings.threads), 1)
    return Devices(found.type, settings.device_count or found.count)


def devices_of(listing: str) -> Devices | None:
    """Read what `nvidia-smi` lists, one name a line; None if that is none.

    Of several kinds, the most frequent counts.
    """
    names = Counter(line.strip() for line in listing.splitlines() if line.strip())
    return Devices(*names.most_common(1)[0]) if names else None


def _list_accelerators() -> str:
    try:
        return subprocess.run(
            _QUERY, capture_output=True, text=True, check=True, timeout=_SECONDS
        ).stdout
    except (OSError, subprocess.SubprocessError):
        # No driver: nothing to train on but the CPU.
        return ""
