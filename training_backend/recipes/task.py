"""What a recipe is given, and what it tells while it works."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from freesolo.runtime.client import EnvironmentHost
from freesolo.schemas.leases import Lease


@dataclass(frozen=True)
class Sample:
    """One rollout of a step, to be shown to the run's owner.

    `example` is the dataset's row and `rollout` which of its attempts, both from 0. `messages` is the
    prompt; `completion` is what followed, the model's and the environment's. `finish` says why it
    ended: `stop`, `length`, `turn_limit`, `environment_failed` and the like. Without a `reward`,
    `error` says why it could not be scored.
    """

    example: int
    rollout: int
    messages: Sequence[Mapping[str, object]]
    completion: Sequence[Mapping[str, object]]
    reward: float | None
    advantage: float | None
    finish: str
    tokens: int
    error: str | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)


class Progress(Protocol):
    """Where a recipe reports to. Any call may raise `LeaseLost`: the work is somebody else's now."""

    def started(self, total_steps: int) -> None:
        """Say that training begins, and how many updates it will make."""

    def log(self, message: str) -> None:
        """Tell the run's owner something."""

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Report the measurements of one step, counted from 1."""

    def samples(self, step: int, samples: Sequence[Sample]) -> None:
        """Show rollouts of one step; pass all of them: what is worth keeping is chosen there."""

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
