"""Where the process of an attempt runs: on the worker's machine, or in a Ray cluster."""

from collections.abc import Mapping, Sequence

from freesolo.domain.devices import Devices
from freesolo.errors import InvalidInput
from training_backend.devices import slots
from training_backend.executors.executor import Attempt, Executor
from training_backend.executors.local import LocalExecutor
from training_backend.settings import ExecutorKind, TrainingSettings

__all__ = ["Attempt", "Executor", "open_executor"]


def open_executor(
    settings: TrainingSettings,
    devices: Devices,
    environ: Mapping[str, str],
    *,
    names: Sequence[str] = (),
) -> Executor:
    """Return the executor that the settings name; raise `InvalidInput` if it cannot be used.

    Child processes get the worker's own environment, `environ`, and read the same settings in it; of
    the devices, which CUDA knows by their `names`, each gets one.
    """
    if settings.executor is ExecutorKind.LOCAL:
        return LocalExecutor(settings, environ, slots(settings, devices, names))
    # Only here: the extra `ray` need not be installed, and takes a second to import.
    try:
        from training_backend.executors.ray import open_ray
    except ModuleNotFoundError as error:
        raise InvalidInput(
            f"The executor `ray` needs a package that is not installed here: {error.name}.",
            hint="`pip install 'freesolo[ray]'` brings it.",
        ) from None

    return open_ray(settings, devices)
