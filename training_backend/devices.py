"""What a worker can train on, told by its settings or found, without importing torch.

A run is trained on one device. Its process is shown that one and no other: whatever counts devices in
it, torch as well as a vLLM server of its own, finds exactly what the run has.
"""

import subprocess
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from freesolo.domain.devices import Devices, answers_to, cpu_with
from freesolo.errors import InvalidInput
from training_backend.settings import TrainingSettings

# By which CUDA is told what a process may see, each device by its number or its name.
VISIBLE = "CUDA_VISIBLE_DEVICES"
_NONE = ("", "-1")

_QUERY = ("nvidia-smi", "--query-gpu=index,uuid,name", "--format=csv,noheader")
_SECONDS = 20.0


@dataclass(frozen=True)
class OwnDevices:
    """What a worker trains on: what it tells of it, and what CUDA calls each device.

    `names` is empty on a CPU, and where nobody knows what there is.
    """

    told: Devices
    names: tuple[str, ...] = ()


def find_devices(settings: TrainingSettings, environ: Mapping[str, str]) -> OwnDevices:
    """Look for accelerators, within what the settings and the worker's own variables leave of them."""
    return own_devices(settings, listing=_list_accelerators(), visible=environ.get(VISIBLE))


def own_devices(settings: TrainingSettings, *, listing: str, visible: str | None) -> OwnDevices:
    """Return a worker's devices, from what `nvidia-smi` lists and what CUDA shows, if that is told.

    Of several kinds, those count that the settings mean, else the most frequent.
    """
    kinds = _kinds_by_name(listing, visible)
    found = Counter(filter(None, kinds.values())).most_common(1)
    kind = settings.device_type or (found[0][0] if found else cpu_with(settings.threads))
    if Devices(kind, 1).is_cpu:
        return OwnDevices(Devices(kind, settings.device_count or 1))
    # What the settings say may be a name of the operator's own.
    names = [name for name, each in kinds.items() if answers_to(each, kind)] or list(kinds)
    if not names:
        names = [str(number) for number in range(settings.device_count or 0)]
    names = names[: settings.device_count]
    return OwnDevices(Devices(kind, settings.device_count or len(names) or 1), tuple(names))


def slots(
    settings: TrainingSettings, devices: Devices, names: Sequence[str]
) -> Sequence[Mapping[str, str]]:
    """Return the variables of the runs that a worker attends at once: a device alone for each.

    Processors are shared. Raise `InvalidInput` if there are fewer accelerators than runs.
    """
    if devices.is_cpu:
        # Said rather than found: there may be accelerators, which are somebody else's.
        return [{VISIBLE: ""} if settings.device_type else {}] * settings.concurrency
    if not names and settings.concurrency == 1:
        return [{}]
    if len(names) < settings.concurrency:
        raise InvalidInput(
            f"Each run is trained on a device of its own; the worker is to attend "
            f"{settings.concurrency} at once, and knows {len(names)} of {devices.type}.",
            hint="Lower FREESOLO_TRAIN_CONCURRENCY, or let it see more in CUDA_VISIBLE_DEVICES; where "
            "`nvidia-smi` is missing, FREESOLO_TRAIN_DEVICE_COUNT says how many there are.",
        )
    return [{VISIBLE: name} for name in names[: settings.concurrency]]


def _kinds_by_name(listing: str, visible: str | None) -> dict[str, str]:
    """Return the kind of each device that may be used, empty if unknown, by what CUDA calls it."""
    rows = [line.split(",", 2) for line in listing.splitlines() if line.strip()]
    listed = [(index.strip(), uuid.strip(), kind.strip()) for index, uuid, kind in rows]
    if visible is None:
        return {index: kind for index, _, kind in listed}
    kinds = {}
    for word in (each.strip() for each in visible.split(",")):
        # CUDA reads no further either.
        if word in _NONE:
            break
        # It takes the beginning of a UUID. A part of a device is of the kind of whichever is there.
        own = [kind for index, uuid, kind in listed if word == index or uuid.startswith(word)]
        kinds[word] = next(iter([*own, *(kind for *_, kind in listed)]), "")
    return kinds


def _list_accelerators() -> str:
    try:
        return subprocess.run(
            _QUERY, capture_output=True, text=True, check=True, timeout=_SECONDS
        ).stdout
    except (OSError, subprocess.SubprocessError):
        # No driver: nothing to train on but the CPU.
        return ""
