"""What a recipe is given, and what it tells while it works."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from freesolo.domain.watchdog import Phase
from freesolo.runtime.client import EnvironmentHost
from freesolo.schemas.leases import Lease


class Progress(Protocol):
    """Where a recipe reports to. Any call may raise `LeaseLost`: the work is somebody else's now."""

    def started(self, total_steps: int) -> None:
        """Say that training begins, and how many updates it will make."""

    def phase(self, phase: Phase) -> None:
        """Say what the attempt does now, if it is not learning from a step's data.

        A step that samples says `ROLLOUTS` when it begins to, and `STEP` when it has its rollouts.
        """

    def log(self, message: str) -> None:
        """Tell the run's owner something."""

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Report the measurements of one step, counted from 1."""

    def checkpoint(self, step: int, folder: Path) -> None:
        """Hand over what the trainer saved after `step`; the folder is gone afterwards."""


@dataclass(frozen=True)
class Task:
    """One attempt at a run, ready to train.

    `resume_from` is the trainer's checkpoint folder of an earlier attempt, `warm_start` the folder of
    the adapter that the run's own goes on from.
    """

    lease: Lease
    host: EnvironmentHost
    model_folder: Path
    work_dir: Path
    progress: Progress
    resume_from: Path | None
    warm_start: Path | None = None
