"""The optimizer's loop for recipes that sample: practise, judge, update. Importing this imports torch.

`transformers` brings what is the same for every trainer: the optimizer, its schedule, clipping, saving
and resuming. What a step is stands here (ADR 0019).
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import PeftModel
from torch import Tensor
from transformers import PreTrainedModel, PrinterCallback, Trainer

from freesolo.domain.train_tables import TrainTable
from freesolo.domain.watchdog import Phase
from training_backend.fingerprints import Questions
from training_backend.lora import Device, lean
from training_backend.packing import Pack, Row, make_batches, make_packs, tokens_of
from training_backend.passes import Passes
from training_backend.policy import Measured, Objective, judge, loss_of
from training_backend.recipes.steps import Places, StepReports, arguments, refuse_unless_finite
from training_backend.recipes.task import Progress, Sample
from training_backend.token_scores import OutputLayer


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

    `sampler` is the name of what gives the model's answers, `questions` are what each checkpoint is
    asked for its fingerprint.
    """

    order: Sequence[int]
    steps: int
    train: TrainTable
    objective: Objective
    seed: int
    output_dir: Path
    sampler: str
    resume_from: Path | None = None
    questions: Questions | None = None


def train_policy(
    model: PeftModel, course: Course, practise: Practise, *, device: Device, progress: Progress
) -> int:
    """Make exactly the planned updates, telling `progress` of every step and checkpoint.

    Return the last step. Raise `InvalidTrainSpec` when training runs away, `OutOfMemory` when a
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
        self._passes = Passes(device.tokens_per_pass, tell=progress.log)
        self._output = OutputLayer.of(model.get_base_model(), torch.bfloat16)
        self._shares_prompts = attends_fully(model.get_base_model())
        self._pool = max(1, len(set(course.order)))
        self._told: dict[str, float] = {}
        super().__init__(
            model=model,
            args=arguments(
                course.train,
                device,
                steps=course.steps,
                seed=course.seed,
                output_dir=course.output_dir,
                lr_scheduler_type="constant",
            ),
            train_dataset=Places(course.order),
            data_collator=list,
            callbacks=[
                StepReports(
                    course.train, progress, lambda *_: self._told, questions=course.questions
                )
            ],
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
        self._progress.phase(Phase.ROLLOUTS)
        practice = self._practise(step, inputs)
        self._progress.phase(Phase.STEP)
        practised = time.monotonic()
        model.train()
        measured = self._learn(step, practice.rows)
        ended = time.monotonic()
        # Kept with the trainer's state, so that a resumed run counts on.
        self.state.num_input_tokens_seen += tokens_of(practice.rows)
        self._told = {
            **practice.metrics,
            **summary_of(measured),
            "time/rollouts": practised - began,
            "time/update": ended - practised,
            "tokens_per_s": tokens_of(self._telling(practice.rows)) / (ended - began),
            "num_tokens": float(self.state.num_input_tokens_seen),
            "epoch": step * len(inputs) / self._pool,
        }
        self._progress.samples(step, practice.samples)
        return torch.tensor(sum(part.loss for part in measured), device=self.args.device)

    def _save(self, output_dir: str | None = None, state_dict: object = None) -> None:
        """Save the adapter that is trained: a teacher's may be on the model beside it."""
        self.model.save_pretrained(
            output_dir or self.args.output_dir, selected_adapters=[self.model.active_adapter]
        )

    def _learn(self, step: int, rows: Sequence[Row]) -> list[Measured]:
        """Compute the gradient of a step."""
        longest = max((len(row.prompt) + len(row.after) for row in rows), default=0)
        return self._passes.run(self.model, lambda: self._accumulate(step, rows), longest=longest)

    def _accumulate(self, step: int, rows: Sequence[Row]) -> list[Measured]:
        tokens = sum(row.trained_tokens for row in rows)
        packs = make_packs(
            self._telling(rows),
            max_tokens=self._passes.tokens,
            share_prompts=self._shares_prompts,
        )
        # To the end of `backward`, which may compute activations a second time.
        with lean(self.model):
            return [
                self._add_gradient(step, batch, tokens=tokens)
                for batch in make_batches(packs, max_tokens=self._passes.tokens)
            ]

    def _add_gradient(self, step: int, batch: Sequence[Pack], *, tokens: int) -> Measured:
        """Add the gradient of one pass to that of the step, which has so many `tokens` with loss.

        Nothing of the pass is left when this returns: the next one needs the memory.
        """
        objective = self._course.objective
        with self.accelerator.autocast():
            judged = judge(self.model, self._output, batch, objective)
        of_batch = [row for pack in batch for row in pack.rows]
        loss, part = loss_of(judged, of_batch, objective, tokens=tokens)
        refuse_unless_finite("loss", part.loss, step, self._course.train)
        self.accelerator.backward(loss)
        return part

    def _telling(self, rows: Sequence[Row]) -> list[Row]:
        """Return the rows that go through the model.

        Where no sibling was better there is nothing to learn, and nothing to compute.
        """
        judges_all = self._course.objective.kl_penalty_coef > 0
        return [row for row in rows if row.trained_tokens and (judges_all or any(row.advantages))]


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
        "sampling/importance_ratio_min": min(part.least_importance for part in parts),
        "sampling/importance_ratio_max": max(part.most_importance for part in parts),
    }
