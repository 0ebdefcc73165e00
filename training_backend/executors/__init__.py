"""Where the process of an attempt runs: on the worker's machine, or in a Ray cluster."""

from collections.abc import Mapping

from freesolo.domain.devices import Devices
from training_backend.executors.executor import Attempt, Executor
from training_backend.executors.local import LocalExecutor
from training_backend.settings import ExecutorKind, TrainingSettings

__all__ = ["Attempt", "Executor", "open_executor"]


def open_executor(
    settings: TrainingSettings, devices: Devices, environ: Mapping[str, str]
) -> Executor:
    """Return the executor that the settings name; raise `InvalidInput` if it cannot be used.

    Child processes get the worker's own environment, `environ`, and read the same settings in it.
    """
    if settings.executor is ExecutorKind.LOCAL:
        return LocalExecutor(settings, environ)
    # Only here: the extra `ray` need not be installed, and takes a second to import.
    from training_backend.executors.ray import open_ray

    return open_ray(settings, devices)
