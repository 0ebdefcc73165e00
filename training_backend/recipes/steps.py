"""What every recipe tells of a step, and when it saves."""

import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from freesolo.domain.train_spec import save_due
from freesolo.domain.train_tables import TrainTable
from freesolo.errors import InvalidTrainSpec
from training_backend.recipes.task import Progress


class StepReports(TrainerCallback):  # type: ignore[misc]
    """Reports each step and hands over each checkpoint.

    `measure` returns what else is known of a step, given its number and the seconds it took.
    """

    def __init__(
        self,
        train: TrainTable,
        progress: Progress,
        measure: Callable[[int, float], Mapping[str, float]],
    ) -> None:
        self._train = train
        self._progress = progress
        self._measure = measure
        self._began = 0.0
        self._seconds = 0.0

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        self._began = time.monotonic()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        self._seconds = time.monotonic() - self._began
        control.should_save = save_due(self._train, state.global_step, state.max_steps)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float],
        **_: object,
    ) -> None:
        # The summary at the end carries no loss of a step.
        if "loss" not in logs:
            return
        step = state.global_step
        refuse_unless_finite("loss", logs["loss"], step, self._train)
        refuse_unless_finite("gradient", logs.get("grad_norm", 0.0), step, self._train)
        measured = {"time/step": self._seconds} | dict(self._measure(step, self._seconds))
        self._progress.metrics(step, logs | measured)

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        step = state.global_step
        self._progress.checkpoint(step, Path(args.output_dir, f"checkpoint-{step}"))


def refuse_unless_finite(what: str, value: float, step: int, train: TrainTable) -> None:
    """Raise `InvalidTrainSpec` if training has run away: nothing after this step is worth keeping."""
    if not math.isfinite(value):
        raise InvalidTrainSpec(
            f"The {what} of step {step} is {value}.",
            hint=f"Lower `train.learning_rate`, now {train.learning_rate}; what was saved before is safe.",
        )
