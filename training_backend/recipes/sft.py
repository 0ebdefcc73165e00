"""SFT: imitate the gold answers. TRL and PEFT optimise; rows, order and horizon are ours."""

import math
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import torch
from datasets import Dataset
from peft import PeftModel
from torch.nn.functional import nll_loss
from transformers import AutoTokenizer, PrinterCallback, set_seed
from trl import SFTConfig, SFTTrainer

from freesolo.domain.estimates import require_room
from freesolo.domain.train_spec import context_tokens, total_steps
from freesolo.domain.train_tables import TrainTable
from freesolo.errors import OutOfMemory
from training_backend.data import (
    IGNORED,
    Row,
    build_rows,
    lengths_of,
    micro_batch_size,
    read_conversations,
    row_order,
)
from training_backend.lora import Device, find_device, load_base_model, with_adapter
from training_backend.recipes.steps import StepReports
from training_backend.recipes.task import Progress, Task

WARMUP = 0.03


@dataclass(frozen=True)
class Plan:
    """Everything that decides the adapter: the rows, the base model, the table and the seed."""

    rows: tuple[Row, ...]
    model_folder: Path
    output_dir: Path
    train: TrainTable
    seed: int
    resume_from: Path | None = None
    warm_start: Path | None = None


def train(task: Task) -> int:
    """Train an adapter on the environment's gold answers; return the last step.

    Goes on from where an earlier attempt stopped. Raise `LimitExceeded`, before the model is loaded,
    if the machine's memory is too small.
    """
    spec = task.lease.spec
    tokenizer = AutoTokenizer.from_pretrained(task.model_folder, local_files_only=True)
    rows = build_rows(
        read_conversations(task.host, spec.train.max_examples),
        tokenizer,
        max_tokens=context_tokens(spec.train, task.lease.model),
        thinking=spec.thinking,
    )
    if rows.dropped:
        task.progress.log(f"{rows.dropped} examples are longer than the context and were left out.")
    require_room(
        spec,
        task.lease.model,
        lengths_of(rows.rows),
        gpu=task.machine.gpu,
        room=task.machine.free,
    )
    return fit(
        Plan(
            rows=rows.rows,
            model_folder=task.model_folder,
            output_dir=task.work_dir,
            train=spec.train,
            seed=spec.seed,
            resume_from=task.resume_from,
            warm_start=task.warm_start,
        ),
        task.progress,
    )


def fit(plan: Plan, progress: Progress) -> int:
    """Make exactly the planned updates, telling `progress` of every step and checkpoint.

    Raise `InvalidTrainSpec` when the loss is no longer a number, `OutOfMemory` when the
    accelerator's memory is too small.
    """
    steps = total_steps(plan.train, len(plan.rows))
    order = list(row_order(len(plan.rows), take=steps * plan.train.batch_size, seed=plan.seed))
    device = find_device()
    set_seed(plan.seed)
    trainer = CompletionTrainer(
        model=with_adapter(
            load_base_model(plan.model_folder, device),
            plan.train.lora_rank,
            warm_start=plan.warm_start,
        ),
        args=_arguments(plan, steps, device),
        train_dataset=_dataset(plan.rows).select(order),
        processing_class=AutoTokenizer.from_pretrained(plan.model_folder, local_files_only=True),
        callbacks=[StepReports(plan.train, progress, _TokenCount(plan, order).measure)],
    )
    # It prints what `progress` is told.
    trainer.remove_callback(PrinterCallback)
    progress.started(steps)
    try:
        trainer.train(resume_from_checkpoint=plan.resume_from and str(plan.resume_from))
    except torch.OutOfMemoryError:
        raise OutOfMemory(
            f"The accelerator ran out of memory with {plan.train.batch_size} rows in a step.",
            hint="Lower `train.max_context_tokens` or `train.lora_rank`, or use a larger one.",
        ) from None
    return steps


class CompletionTrainer(SFTTrainer):  # type: ignore[misc]
    """Sends only the completions' positions through the output layer, also on a CPU.

    TRL does so where it has a Triton kernel; elsewhere it scores the prompts as well, and throws
    those scores away: a third of a step's time for a small model with a large vocabulary.
    """

    def create_model_card(self, **_: object) -> None:
        """Write none: an adapter has its provenance, and TRL's asks the trackers that are installed."""

    def compute_loss(
        self,
        model: PeftModel,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return the mean loss of the completions' tokens."""
        if self.args.device.type != "cpu" or num_items_in_batch is None:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        labels = inputs["labels"][:, 1:]
        scored = labels != IGNORED
        causal = model.get_base_model()
        with torch.autocast("cpu", torch.bfloat16):
            hidden = causal.base_model(
                input_ids=inputs["input_ids"],
                attention_mask=inputs["attention_mask"],
                use_cache=False,
            ).last_hidden_state[:, :-1]
            logits = causal.get_output_embeddings()(hidden[scored])
        log_probs = logits.float().log_softmax(dim=-1)
        self._measure(log_probs.detach(), labels[scored])
        return nll_loss(log_probs, labels[scored], reduction="sum") / num_items_in_batch

    def _measure(self, log_probs: torch.Tensor, labels: torch.Tensor) -> None:
        metrics = self._metrics["train"]
        metrics["mean_token_accuracy"].append(
            (log_probs.argmax(-1) == labels).float().mean().item()
        )
        metrics["entropy"].append(-(log_probs.exp() * log_probs).sum(-1).mean().item())


def _dataset(rows: tuple[Row, ...]) -> Dataset:
    return Dataset.from_dict(
        {"input_ids": [row.input_ids for row in rows], "labels": [row.labels for row in rows]}
    )


def _arguments(plan: Plan, steps: int, device: Device) -> SFTConfig:
    micro = micro_batch_size(
        plan.train.batch_size,
        max(len(row.input_ids) for row in plan.rows),
        max_tokens=device.tokens_per_pass,
    )
    return SFTConfig(
        output_dir=str(plan.output_dir),
        max_steps=steps,
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=plan.train.batch_size // micro,
        # The rows come in their final order, already tokenised and masked.
        train_sampling_strategy="sequential",
        dataset_kwargs={"skip_prepare_dataset": True},
        learning_rate=plan.train.learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=math.ceil(WARMUP * steps),
        weight_decay=0.0,
        max_grad_norm=1.0,
        seed=plan.seed,
        bf16=True,
        use_cpu=not device.gpu,
        # Recomputing activations costs 40 % more time, and on a CPU memory is not what is short.
        gradient_checkpointing=device.gpu,
        # The callback says when to save.
        save_strategy="no",
        logging_steps=1,
        # By default a loss that is not a number is reported as the mean of the others.
        logging_nan_inf_filter=False,
        disable_tqdm=True,
        report_to=[],
    )


class _TokenCount:
    """How many tokens a run has seen after a step, and which epoch it is in."""

    def __init__(self, plan: Plan, order: list[int]) -> None:
        self._batch_size = plan.train.batch_size
        self._rows_in_epoch = len(plan.rows)
        lengths = [len(plan.rows[index].input_ids) for index in order]
        self._tokens_before_row = [0, *accumulate(lengths)]

    def measure(self, step: int, seconds: float) -> dict[str, float]:
        """Return the figures of a step."""
        rows = step * self._batch_size
        tokens = self._tokens_before_row[rows]
        new_tokens = tokens - self._tokens_before_row[rows - self._batch_size]
        return {
            "epoch": rows / self._rows_in_epoch,
            "num_tokens": tokens,
            "tokens_per_s": new_tokens / seconds,
        }
