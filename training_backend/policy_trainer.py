"""The optimizer's loop for recipes that sample: practise, judge, update. Importing this imports torch.

`transformers` brings what is the same for every trainer: the optimizer, its schedule, clipping, saving
and resuming. What a step is stands here (ADR 0019).
"""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import torch
from peft import PeftModel
from torch import Tensor
from torch.utils.data import Dataset
from transformers import PreTrainedModel, PrinterCallback, Trainer, TrainingArguments

from freesolo.domain.train_tables import TrainTable
from freesolo.errors import LimitExceeded
from training_backend.lora import Device
from training_backend.packing import Row, make_batches, make_packs
from training_backend.policy import Measured, Objective, judge, loss_of
from training_backend.recipes.steps import StepReports, refuse_unless_finite
from training_backend.recipes.task import Progress, Sample


@dataclass(frozen=True)
class Practice:
    """What a step is learned from: rows of tokens with their advantages, and what to tell of them."""

    rows: Sequence[Row]
    metrics: Mapping[str, float]
    samples: Sequence[Sample] = ()


Practise = Callable[[int, Sequence[int]], Practice]
"""Samples a step, counted from 1, on the dataset's rows of these numbers."""


@dataclass(frozen=True)
class Course:
    """A run's whole training: `order` holds the row numbers of all its steps, one after the other.

    `sampler` is the name of what gives the model's answers.
    """

    order: Sequence[int]
    steps: int
    train: TrainTable
    objective: Objective
    seed: int
    output_dir: Path
    sampler: str
    resume_from: Path | None = None


@dataclass
class _Tokens:
    """Tokens that a run has sampled so far, and in its newest step."""

    total: int = 0
    metrics: dict[str, float] = field(default_factory=dict)


def train_policy(
    model: PeftModel, course: Course, practise: Practise, *, device: Device, progress: Progress
) -> int:
    """Make exactly the planned updates, telling `progress` of every step and checkpoint.

    Return the last step. Raise `InvalidTrainSpec` when training runs away, `LimitExceeded` when a
    single row does not fit into memory, and what `practise` raises.
    """
    trainer = PolicyTrainer(model, course, practise, device=device, progress=progress)
    # It prints what `progress` is told.
    trainer.remove_callback(PrinterCallback)
    progress.started(course.steps, sampler=course.sampler)
    trainer.train(resume_from_checkpoint=course.resume_from and str(course.resume_from))
    return course.steps


class PolicyTrainer(Trainer):  # type: ignore[misc]
    """A trainer whose step samples what it learns from."""

    def __init__(
        self,
        model: PeftModel,
        course: Course,
        practise: Practise,
        *,
        device: Device,
        progress: Progress,
    ) -> None:
        self._course = course
        self._practise = practise
        self._progress = progress
        self._tokens_per_pass = device.tokens_per_pass
        self._shares_prompts = attends_fully(model.get_base_model())
        self._told: dict[str, float] = {}
        super().__init__(
            model=model,
            args=_arguments(course, device),
            train_dataset=_Places(course.order),
            data_collator=list,
            callbacks=[StepReports(course.train, progress, lambda *_: self._told)],
        )

    def training_step(
        self,
        model: PeftModel,
        inputs: list[int],
        num_items_in_batch: Tensor | None = None,
    ) -> Tensor:
        """Practise on the rows of these numbers, then compute the gradient; return the loss."""
        step = self.state.global_step + 1
        began = time.monotonic()
        practice = self._practise(step, inputs)
        practised = time.monotonic()
        model.train()
        measured = self._learn(step, practice.rows)
        self._told = {
            **practice.metrics,
            **summary_of(measured),
            "time/rollouts": practised - began,
            "time/update": time.monotonic() - practised,
            "epoch": step * len(inputs) / max(1, len(set(self._course.order))),
        }
        self._progress.samples(step, practice.samples)
        return torch.tensor(sum(part.loss for part in measured))

    def _save(self, output_dir: str | None = None, state_dict: object = None) -> None:
        """Save the adapter that is trained: a teacher's may be on the model beside it."""
        self.model.save_pretrained(
            output_dir or self.args.output_dir, selected_adapters=[self.model.active_adapter]
        )

    def _learn(self, step: int, rows: Sequence[Row]) -> list[Measured]:
        """Compute the gradient of a step; in smaller parts, if it does not fit into memory."""
        while True:
            with suppress(torch.OutOfMemoryError):
                return self._accumulate(step, rows)
            self.model.zero_grad()
            torch.cuda.empty_cache()
            longest = max(len(row.prompt) + len(row.after) for row in rows)
            if self._tokens_per_pass <= longest:
                raise LimitExceeded(
                    f"The accelerator ran out of memory with a single row of {longest} tokens.",
                    hint="Lower `train.max_context_tokens` or `train.max_completion_tokens`, or use "
                    "a larger one.",
                )
            self._tokens_per_pass //= 2
            self._progress.log(
                f"Out of memory: passes have at most {self._tokens_per_pass} tokens from here on."
            )

    def _accumulate(self, step: int, rows: Sequence[Row]) -> list[Measured]:
        objective = self._course.objective
        tokens = sum(row.trained_tokens for row in rows)
        # Where no sibling was better there is nothing to learn, and nothing to compute.
        telling = [row for row in rows if objective.kl_penalty_coef or any(row.advantages)]
        packs = make_packs(
            [row for row in telling if row.trained_tokens],
            max_tokens=self._tokens_per_pass,
            share_prompts=self._shares_prompts,
        )
        measured = []
        for batch in make_batches(packs, max_tokens=self._tokens_per_pass):
            with self.accelerator.autocast():
                judged = judge(self.model, batch, objective)
            of_batch = [row for pack in batch for row in pack.rows]
            loss, part = loss_of(judged, of_batch, objective, tokens=tokens)
            refuse_unless_finite("loss", part.loss, step, self._course.train)
            self.accelerator.backward(loss)
            measured.append(part)
        return measured


def attends_fully(causal: PreTrainedModel) -> bool:
    """Say whether each token may attend to any before it, in every layer.

    Only then can branches stand behind a prompt they share: recurrent layers and sliding windows
    would mix them.
    """
    config = causal.config.get_text_config()
    kinds = getattr(config, "layer_types", None) or ["full_attention"]
    return set(kinds) == {"full_attention"} and not getattr(config, "sliding_window", None)


def summary_of(parts: Sequence[Measured]) -> dict[str, float]:
    """Return the means over all tokens that were learned from, by the names that metrics have."""
    tokens = sum(part.tokens for part in parts)
    if not tokens:
        return {}
    return {
        "entropy": sum(part.entropy for part in parts) / tokens,
        "kl": sum(part.kl for part in parts) / tokens,
        "sampling/logp_difference_mean": sum(part.logp_difference for part in parts) / tokens,
        "sampling/logp_difference_max": max(part.largest_difference for part in parts),
        "sampling/importance_ratio_mean": sum(part.importance_ratio for part in parts) / tokens,
    }


class _Places(Dataset[int]):  # type: ignore[misc]
    """The numbers of rows, in the order of the steps."""

    def __init__(self, order: Sequence[int]) -> None:
        self._order = order

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, place: int) -> int:
        return self._order[place]


def _arguments(course: Course, device: Device) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(course.output_dir),
        max_steps=course.steps,
        per_device_train_batch_size=course.train.batch_size,
        train_sampling_strategy="sequential",
        remove_unused_columns=False,
        learning_rate=course.train.learning_rate,
        lr_scheduler_type="constant",
        weight_decay=0.0,
        max_grad_norm=1.0,
        seed=course.seed,
        bf16=True,
        use_cpu=not device.gpu,
        # The callback says when to save.
        save_strategy="no",
        logging_steps=1,
        logging_nan_inf_filter=False,
        disable_tqdm=True,
        report_to=[],
    )
