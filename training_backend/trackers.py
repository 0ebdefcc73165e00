"""Where else a run's metrics go, if its config says so: Weights & Biases, trackio.

A tracker never stands in the way of a run: it works in a thread of its own, and the first thing that
goes wrong is told once and ends it.
"""

import importlib.util
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import Protocol

from freesolo.domain.secrets import WANDB_API_KEY
from freesolo.domain.train_spec import TrackioSpec, WandbSpec
from freesolo.errors import InvalidTrainSpec
from freesolo.runtime.masking import mask
from freesolo.schemas.leases import Lease

logger = logging.getLogger(__name__)

_INIT_SECONDS = 60.0


class Tracker(Protocol):
    """One run in one tracker."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Add the measurements of a step."""

    def finish(self, *, failed: bool) -> None:
        """Send what is left, and say how the run ended."""


class TrackerThread:
    """A tracker that is opened and fed in a thread of its own, for as long as it works."""

    def __init__(
        self, name: str, open_tracker: Callable[[], Tracker], *, secrets: Sequence[str] = ()
    ) -> None:
        self._name = name
        self._open = open_tracker
        self._secrets = secrets
        self._waiting: SimpleQueue[Callable[[Tracker], None] | None] = SimpleQueue()
        self._trouble: str | None = None
        # A daemon: one that hangs ends with the process.
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Hand over the measurements of a step; none is a number that JSON cannot write."""
        if self._thread.is_alive():
            self._waiting.put(lambda tracker: tracker.log(step, values))

    def finish(self, *, failed: bool, seconds: float) -> None:
        """Let the tracker send what is left, and wait for it no longer than `seconds`."""
        self._waiting.put(lambda tracker: tracker.finish(failed=failed))
        self._waiting.put(None)
        self._thread.join(seconds)
        if self._thread.is_alive():
            self._trouble = self._trouble or "it did not finish in time"

    def trouble(self) -> str | None:
        """Return what went wrong, once."""
        trouble, self._trouble = self._trouble, None
        if trouble is None:
            return None
        return f"{self._name} does not get the metrics of this run: {trouble}. The run goes on."

    def _work(self) -> None:
        try:
            tracker = self._open()
            while (act := self._waiting.get()) is not None:
                act(tracker)
        except Exception as error:  # noqa: BLE001 - whatever it raises, the run goes on without it
            reason = f"{type(error).__name__}: {error}"
            self._trouble = mask(reason, self._secrets).rstrip(".")
            logger.warning("tracker gave up", extra={"tracker": self._name})


class WandbTracker:
    """A run in Weights & Biases. Another attempt of the same run goes on in the same place."""

    def __init__(self, lease: Lease, wanted: WandbSpec, key: str, folder: Path) -> None:
        import wandb

        self._run = wandb.init(
            project=wanted.project,
            name=wanted.run_name or lease.run_id,
            id=lease.run_id,
            resume="allow",
            config=described(lease),
            dir=folder,
            settings=wandb.Settings(
                # Not `login`, which writes it to a file.
                api_key=key,
                init_timeout=_INIT_SECONDS,
                silent=True,
                # Metrics, and nothing of the machine, its output or its code.
                console="off",
                disable_git=True,
                disable_code=True,
                save_code=False,
                x_disable_meta=True,
                x_disable_stats=True,
                x_disable_machine_info=True,
            ),
        )

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Add the measurements of a step; a step that was added before stays as it is."""
        self._run.log(dict(values), step=step)

    def finish(self, *, failed: bool) -> None:
        """Send what is left."""
        self._run.finish(exit_code=int(failed))


class TrackioTracker:
    """A run in the trackio of the worker's machine. Another attempt goes on in the same place."""

    def __init__(self, lease: Lease, wanted: TrackioSpec) -> None:
        import trackio

        # By its name a run is found again, so nobody else may have it.
        name = f"{wanted.run_name} {lease.run_id}" if wanted.run_name else lease.run_id
        self._run = trackio.init(
            project=wanted.project,
            name=name,
            resume="allow",
            config=described(lease),
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Add the measurements of a step."""
        self._run.log(dict(values), step=step)

    def finish(self, *, failed: bool) -> None:
        """Write what is left."""
        self._run.finish()


def require_trackers(lease: Lease) -> None:
    """Raise `InvalidTrainSpec` if the config asks for a tracker that is not installed here."""
    for name, wanted in (("wandb", lease.spec.wandb), ("trackio", lease.spec.trackio)):
        if wanted is not None and importlib.util.find_spec(name) is None:
            raise InvalidTrainSpec(
                f"The config has a table `[{name}]`, and this worker lacks the package {name}.",
                hint=f"Whoever runs the worker installs it: `pip install 'freesolo[{name}]'`. "
                "Or leave the table out.",
            )


def open_trackers(
    lease: Lease, secrets: Mapping[str, str], folder: Path
) -> Sequence[TrackerThread]:
    """Open the trackers that a config asks for."""
    trackers = []
    if (wandb := lease.spec.wandb) is not None:
        key = secrets[WANDB_API_KEY]
        trackers.append(
            TrackerThread(
                "Weights & Biases", lambda: WandbTracker(lease, wandb, key, folder), secrets=[key]
            )
        )
    if (trackio := lease.spec.trackio) is not None:
        trackers.append(TrackerThread("trackio", lambda: TrackioTracker(lease, trackio)))
    return trackers


def described(lease: Lease) -> dict[str, object]:
    """Return what a tracker shows as a run's config: all that decides it, and no secret."""
    return {
        **lease.spec.model_dump(mode="json", exclude={"wandb", "trackio"}),
        "run": lease.run_id,
        "environment_version": lease.environment.version,
        "environment_digest": lease.environment.tree_digest,
        "model_revision": lease.model.revision,
    }
