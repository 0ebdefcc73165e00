"""SFT: imitate the gold answers."""

from dataclasses import dataclass
from pathlib import Path

from transformers import set_seed

from freesolo.domain.estimates import require_room
from freesolo.domain.train_spec import context_tokens, planned_steps
from freesolo.domain.train_tables import TrainTable
from training_backend.data import (
    GoldRow,
    Rows,
    build_rows,
    lengths_of,
    read_conversations,
    row_order,
)
from training_backend.fingerprints import Questions
from training_backend.gold_trainer import Lessons, train_on_gold
from training_backend.lora import find_device, load_base_model, with_adapter
from training_backend.recipes.model_chat import chat_format
from training_backend.recipes.task import Progress, Task


@dataclass(frozen=True)
class Plan:
    """Everything that decides the adapter: the rows, the base model, the table and the seed.

    `questions` are what each checkpoint is asked for its fingerprint.
    """

    rows: tuple[GoldRow, ...]
    model_folder: Path
    output_dir: Path
    train: TrainTable
    seed: int
    resume_from: Path | None = None
    warm_start: Path | None = None
    questions: Questions | None = None


def train(task: Task) -> int:
    """Train an adapter on the environment's gold answers; return the last step.

    Goes on from where an earlier attempt stopped. Raise `LimitExceeded`, before the model is loaded,
    if the machine's memory is too small.
    """
    spec = task.lease.spec
    chat = chat_format(task.model_folder, thinking=spec.thinking)
    rows = build_rows(
        read_conversations(task.host, spec.train.max_examples),
        chat,
        max_tokens=context_tokens(spec.train, task.lease.model),
    )
    tell_oddities(rows, task.progress)
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
            questions=Questions.of(chat),
        ),
        task.progress,
    )


def tell_oddities(rows: Rows, progress: Progress) -> None:
    """Say what the run's owner may not expect of the rows."""
    for reason, count in sorted(rows.left_out.items()):
        total = len(rows.rows) + rows.left_out.total()
        progress.log(f"Left out {count} of {total} rows: {reason}.")
    if rows.unthinking:
        progress.log(
            f"{rows.unthinking} gold answers have no thinking, so the model learns to answer such "
            "questions without; write it as `<think>...</think>` before the answer."
        )


def fit(plan: Plan, progress: Progress) -> int:
    """Make exactly the planned updates, telling `progress` of every step and checkpoint.

    Raise `InvalidTrainSpec` when a checkpoint is asked for after the last of them, and when the loss
    is no longer a number, `OutOfMemory` when the accelerator's memory is too small.
    """
    steps = planned_steps(plan.train, len(plan.rows))
    device = find_device()
    # A fresh adapter is drawn at random.
    set_seed(plan.seed)
    model = with_adapter(
        load_base_model(plan.model_folder, device),
        plan.train.lora_rank,
        warm_start=plan.warm_start,
    )
    lessons = Lessons(
        rows=plan.rows,
        order=list(row_order(len(plan.rows), take=steps * plan.train.batch_size, seed=plan.seed)),
        steps=steps,
        train=plan.train,
        seed=plan.seed,
        output_dir=plan.output_dir,
        resume_from=plan.resume_from,
        questions=plan.questions,
    )
    return train_on_gold(model, lessons, device=device, progress=progress)
