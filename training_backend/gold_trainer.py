"""The optimizer's loop for recipes that imitate. Importing this imports torch.

`transformers` brings what is the same for every trainer; what a step is stands here (ADR 0019).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import torch
from peft import PeftModel
from torch import Tensor
from transformers import PrinterCallback, Trainer

from freesolo.domain.train_tables import TrainTable
from training_backend.data import GoldRow
from training_backend.fingerprints import Questions
from training_backend.imitation import Imitated, imitate
from training_backend.lora import Device, lean
from training_backend.packing import batches_by_length
from training_backend.passes import Passes
from training_backend.recipes.steps import Places, StepReports, arguments, refuse_unless_finite
from training_backend.recipes.task import Progress
from training_backend.token_scores import OutputLayer

# A share of the steps; short runs have none, since its first step would change nothing.
_WARMUP = 0.03
# What a pass costs besides its tokens, as a share of the most that it may have.
_PASS_COST = 1 / 16


@dataclass(frozen=True)
class Lessons:
    """A run's whole training: `order` holds the numbers of the rows of all its steps.

    `questions` are what each checkpoint is asked for its fingerprint.
    """

    rows: Sequence[GoldRow]
    order: Sequence[int]
    steps: int
    train: TrainTable
    seed: int
    output_dir: Path
    resume_from: Path | None = None
    questions: Questions | None = None


def train_on_gold(model: PeftModel, lessons: Lessons, *, device: Device, progress: Progress) -> int:
    """Make exactly the planned updates, telling `progress` of every step and checkpoint.

    Return the last step. Raise `InvalidTrainSpec` when the loss is no longer a number, and
    `OutOfMemory` when a single row does not fit into memory.
    """
    trainer = GoldTrainer(model, lessons, device=device, progress=progress)
    # It prints what `progress` is told.
    trainer.remove_callback(PrinterCallback)
    progress.started(lessons.steps)
    with lean(model):
        trainer.train(resume_from_checkpoint=lessons.resume_from and str(lessons.resume_from))
    return lessons.steps


class GoldTrainer(Trainer):  # type: ignore[misc]
    """A trainer whose step imitates rows, laid out by length whatever their order."""

    def __init__(
        self, model: PeftModel, lessons: Lessons, *, device: Device, progress: Progress
    ) -> None:
        self._lessons = lessons
        self._passes = Passes(device.tokens_per_pass, tell=progress.log)
        self._summary = _Summary(lessons)
        super().__init__(
            model=model,
            args=arguments(
                lessons.train,
                device,
                steps=lessons.steps,
                seed=lessons.seed,
                output_dir=lessons.output_dir,
                lr_scheduler_type="linear",
                warmup_steps=int(_WARMUP * lessons.steps),
            ),
            train_dataset=Places(lessons.order),
            data_collator=list,
            callbacks=[
                StepReports(
                    lessons.train, progress, self._summary.measure, questions=lessons.questions
                )
            ],
        )
        self._output = OutputLayer.of(model.get_base_model(), torch.bfloat16)

    def training_step(
        self, model: PeftModel, inputs: list[int], num_items_in_batch: Tensor | None = None
    ) -> Tensor:
        """Compute the gradient of the rows of these numbers; return the loss."""
        model.train()
        rows = [self._lessons.rows[number] for number in inputs]
        parts = self._passes.run(
            model, lambda: self._accumulate(rows), longest=max(len(row.ids) for row in rows)
        )
        self._summary.parts = parts
        loss = sum(part.loss for part in parts) / sum(part.tokens for part in parts)
        return torch.tensor(loss, device=self.args.device)

    def _accumulate(self, rows: Sequence[GoldRow]) -> list[Imitated]:
        tokens = sum(row.trained_tokens for row in rows)
        batches = batches_by_length(
            [len(row.ids) for row in rows],
            max_tokens=self._passes.tokens,
            pass_cost=round(self._passes.tokens * _PASS_COST),
        )
        return [self._add_gradient([rows[place] for place in batch], tokens) for batch in batches]

    def _add_gradient(self, rows: Sequence[GoldRow], tokens: int) -> Imitated:
        """Compute the part of a step's gradient that a batch makes up; nothing of it outlives this."""
        with self.accelerator.autocast():
            hidden, gradient, part = imitate(self.model, self._output, rows, tokens=tokens)
        step = self.state.global_step + 1
        refuse_unless_finite("loss", part.loss, step, self._lessons.train)
        hidden.backward(gradient)
        return part


class _Summary:
    """What is told of a step. `parts` is what its batches came to."""

    def __init__(self, lessons: Lessons) -> None:
        self.parts: Sequence[Imitated] = ()
        self._batch_size = lessons.train.batch_size
        self._rows = len(lessons.rows)
        lengths = (len(lessons.rows[number].ids) for number in lessons.order)
        self._tokens_before = [0, *accumulate(lengths)]

    def measure(self, step: int, seconds: float) -> dict[str, float]:
        """Return the figures of a step; those of the run so far come from the plan, so that a
        resumed run tells the same.
        """
        tokens = sum(part.tokens for part in self.parts)
        read = sum(part.read for part in self.parts)
        padding = sum(part.padding for part in self.parts)
        return {
            "epoch": step * self._batch_size / self._rows,
            "num_tokens": self._tokens_before[step * self._batch_size],
            "tokens_per_s": read / seconds,
            "mean_token_accuracy": sum(part.right for part in self.parts) / tokens,
            "entropy": sum(part.entropy for part in self.parts) / tokens,
            "supervised_tokens_per_row": tokens / self._batch_size,
            "padding_share": padding / (read + padding),
        }
