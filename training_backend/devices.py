"""What a worker can train on, told by its settings or found, without importing torch."""

import subprocess
from collections import Counter

from freesolo.domain.devices import CPU, Devices
from training_backend.settings import TrainingSettings

_QUERY = ("nvidia-smi", "--query-gpu=name", "--format=csv,noheader")
_SECONDS = 20.0


def find_devices(settings: TrainingSettings) -> Devices:
    """Return the devices that a run can have of this worker: one on a CPU, all accelerators else."""
    found = devices_of(_list_accelerators()) if settings.device_type is None else None
    return Devices(
        settings.device_type or (found.type if found else CPU),
        settings.device_count or (found.count if found else 1),
    )


def devices_of(listing: str) -> Devices:
    """Read what `nvidia-smi` lists: one name a line. Of several kinds, the most frequent counts."""
    names = Counter(line.strip() for line in listing.splitlines() if line.strip())
    if not names:
        return Devices(CPU, 1)
    return Devices(*names.most_common(1)[0])


def _list_accelerators() -> str:
    try:
        return subprocess.run(
            _QUERY, capture_output=True, text=True, check=True, timeout=_SECONDS
        ).stdout
    except (OSError, subprocess.SubprocessError):
        # No driver: nothing to train on but the CPU.
        return ""
