"""What is the same for the steps of every recipe: their rows, their optimizer, what they tell, when they save."""

import math
import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from peft import PeftModel
from torch.utils.data import Dataset
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from freesolo.domain.train_spec import save_due
from freesolo.domain.train_tables import TrainTable
from freesolo.errors import InvalidTrainSpec
from training_backend.checkpoints import write_fingerprint
from training_backend.fingerprints import Questions, fingerprint
from training_backend.lora import Device
from training_backend.recipes.task import Progress


class Places(Dataset[int]):  # type: ignore[misc]
    """The numbers of rows, in the order of the steps."""

    def __init__(self, order: Sequence[int]) -> None:
        self._order = order

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, place: int) -> int:
        return self._order[place]


def arguments(
    train: TrainTable,
    device: Device,
    *,
    steps: int,
    seed: int,
    output_dir: Path,
    **schedule: str | int,
) -> TrainingArguments:
    """Describe an optimizer's loop of exactly so many steps, each of which gets its rows as numbers."""
    made = TrainingArguments(
        output_dir=str(output_dir),
        max_steps=steps,
        per_device_train_batch_size=train.batch_size,
        train_sampling_strategy="sequential",
        remove_unused_columns=False,
        learning_rate=train.learning_rate,
        weight_decay=0.0,
        max_grad_norm=1.0,
        seed=seed,
        bf16=True,
        use_cpu=not device.gpu,
        # The callback says when to save.
        save_strategy="no",
        logging_steps=1,
        # By default a loss that is not a number is reported as the mean of the others.
        logging_nan_inf_filter=False,
        disable_tqdm=True,
        report_to=[],
        **schedule,
    )
    if device.gpu and made.n_gpu > 1:
        # A process trains on one device; with several in sight a step would get the rows of all.
        made._n_gpu = 1  # noqa: SLF001 - as the library itself does
    return made


class StepReports(TrainerCallback):  # type: ignore[misc]
    """Reports each step and hands over each checkpoint, with its fingerprint if there are `questions`.

    `measure` returns what else is known of a step, given its number and the seconds it took.
    """

    def __init__(
        self,
        train: TrainTable,
        progress: Progress,
        measure: Callable[[int, float], Mapping[str, float]],
        *,
        questions: Questions | None = None,
    ) -> None:
        self._train = train
        self._progress = progress
        self._measure = measure
        self._questions = questions
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
        measured = {
            "time/step": self._seconds,
            "perf/peak_memory": peak_memory(),
            **self._measure(step, self._seconds),
        }
        self._progress.metrics(step, logs | measured)

    def on_save(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        *,
        model: PeftModel,
        **_: object,
    ) -> None:
        step = state.global_step
        folder = Path(args.output_dir, f"checkpoint-{step}")
        if self._questions is not None:
            write_fingerprint(folder, fingerprint(model, self._questions))
        self._progress.checkpoint(step, folder)


def peak_memory() -> float:
    """Return the most bytes that training held until now, on the accelerator if there is one."""
    if torch.cuda.is_available():
        return float(torch.cuda.max_memory_allocated())
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # macOS counts bytes, Linux thousands of them.
    return float(held if sys.platform == "darwin" else held * 1024)


def refuse_unless_finite(what: str, value: float, step: int, train: TrainTable) -> None:
    """Raise `InvalidTrainSpec` if training has run away: nothing after this step is worth keeping."""
    if not math.isfinite(value):
        raise InvalidTrainSpec(
            f"The {what} of step {step} is {value}.",
            hint=f"Lower `train.learning_rate`, now {train.learning_rate}; what was saved before is safe.",
        )
