"""What a recipe is given, and what it tells while it works."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from freesolo.datasets.types import Message
from freesolo.runtime.client import EnvironmentHost
from freesolo.schemas.leases import Lease
from training_backend.sampling.choice import SamplingOptions


@dataclass(frozen=True)
class Sample:
    """One rollout, to look at: what was asked, what came of it, and what it was worth.

    `example` is the number of the dataset's row, from 0. `completion` is all that followed the prompt, the
    model's messages and the environment's. `reward` is None, and `error` says why, if it could not
    be scored; `advantage` is None where the rollout taught nothing.
    """

    example: int
    rollout: int
    messages: Sequence[Message]
    completion: Sequence[Message]
    reward: float | None
    advantage: float | None
    finish: str
    tokens: int
    error: str | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)


class Progress(Protocol):
    """Where a recipe reports to. Any call may raise `LeaseLost`: the work is somebody else's now."""

    def started(self, total_steps: int, *, sampler: str | None = None) -> None:
        """Say that training begins, how many updates it will make, and what samples, if anything."""

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
    the adapter that the run's own goes on from: that of another run, or of the earlier attempt.
    `teacher_model` is the folder of the base model that teaches, `teacher_adapter` that of the adapter
    on it, if one does; there is neither where the teacher is an endpoint elsewhere. `secrets` are for
    this process alone.
    """

    lease: Lease
    host: EnvironmentHost
    model_folder: Path
    work_dir: Path
    progress: Progress
    resume_from: Path | None
    warm_start: Path | None = None
    teacher_model: Path | None = None
    teacher_adapter: Path | None = None
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    sampling: SamplingOptions = field(default_factory=SamplingOptions)
