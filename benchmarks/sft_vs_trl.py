"""SFT by the platform's recipe against a plain TRL script, on the same rows in the same order.

Both train a LoRA adapter of rank 16: on a CPU with float32 weights, on a GPU with bfloat16 ones, under
bfloat16 autocast, without gradient checkpointing, with as many threads. Two work loads: `dates`, the
short answers of the template `single-turn`; and `episodes`, one to four turns of 20 to 400 tokens in all.
Rounds alternate, each in a process of its own; the ratio is the median of the rounds' ratios::

    python benchmarks/sft_vs_trl.py --rounds 3 --steps 8 --markdown table.md

The model is the embedded base model, or one of random weights in a shape of Qwen's, made on the spot::

    python benchmarks/sft_vs_trl.py --model-shape qwen3-0.6b
"""

import argparse
import calendar
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from benchmarks.side_by_side import Figures, machine, measure_in_turns, ratio, run_side, table
from freesolo.base_models.store import local_path
from freesolo.datasets.types import Message
from freesolo.domain.catalog import SMOLLM2_135M
from freesolo.domain.train_tables import SftTable
from freesolo.domain.watchdog import Phase
from training_backend.data import Conversation, GoldRow, Rows, build_rows, row_order

SIDES = ("platform", "trl")
BATCH_SIZE = 8
EXAMPLES = 200
SEED = 42
TARGET_RATIO = 0.8
MAX_TOKENS = 1024
QWEN3_06B = "qwen3-0.6b"
MONTHS = tuple(calendar.month_name)[1:]


@dataclass(frozen=True)
class Work:
    """What both sides train: a model, and a work load in its chat template."""

    model_folder: Path
    load: str
    steps: int

    def conversations(self) -> list[Conversation]:
        """Return the work load."""
        return LOADS[self.load]()

    def rows(self) -> Rows:
        """Return the work load as rows; all of them fit."""
        from training_backend.recipes.model_chat import chat_format

        chat = chat_format(self.model_folder, thinking=False)
        rows = build_rows(self.conversations(), chat, max_tokens=MAX_TOKENS)
        assert not rows.left_out
        return rows


class StepClock:
    """Notes when each step was reported, and its loss."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.cpu_times: list[float] = []
        self.losses: list[float] = []

    def step(self, loss: float) -> None:
        """Note one step."""
        self.times.append(time.perf_counter())
        self.cpu_times.append(time.process_time())
        self.losses.append(loss)

    def figures(self, rows: Sequence[GoldRow]) -> Figures:
        """Sum up. Processor seconds hardly change when the machine has other work."""
        return {
            "tokens a row": statistics.mean(len(row.ids) for row in rows),
            "seconds a step": median_step(self.times),
            "processor seconds": median_step(self.cpu_times),
            "first loss": self.losses[0],
            "last loss": self.losses[-1],
        }


def median_step(times: Sequence[float]) -> float:
    """Return the median time between one step and the next."""
    return statistics.median(after - before for before, after in pairwise(times))


def dates() -> list[Conversation]:
    """Dates to rewrite, as in the `single-turn` template."""
    made = []
    for index in range(EXAMPLES):
        year, month, day = 1950 + index % 97, index % 12, 1 + index % 28
        question = f"Rewrite the date as YYYY-MM-DD. Date: {MONTHS[month]} {day}, {year}"
        answer = f"{year}-{month + 1:02d}-{day:02d}"
        made.append(
            Conversation(
                prompt=[{"role": "user", "content": question}],
                completion=[{"role": "assistant", "content": answer}],
            )
        )
    return made


def episodes() -> list[Conversation]:
    """Lists to repeat word by word, one to four of them, of very different lengths."""
    draw = random.Random(SEED)
    made = []
    for _ in range(EXAMPLES):
        words = round(10 ** draw.uniform(0, 1.6))
        said: list[Message] = []
        for _ in range(draw.randint(1, 4)):
            text = " ".join(draw.choice(MONTHS) for _ in range(words))
            said += [
                {"role": "user", "content": f"Repeat: {text}"},
                {"role": "assistant", "content": text},
            ]
        made.append(Conversation(prompt=said[:1], completion=said[1:]))
    return made


LOADS: Mapping[str, Callable[[], list[Conversation]]] = {"dates": dates, "episodes": episodes}


def build_shape(folder: Path, model_folder: Path) -> Path:
    """Write a model of random weights in the shape of Qwen3-0.6B, with the base model's tokenizer."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(SEED)
    config = Qwen3Config(
        vocab_size=151_936,
        hidden_size=1024,
        intermediate_size=3072,
        num_hidden_layers=28,
        num_attention_heads=16,
        num_key_value_heads=8,
        head_dim=128,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
    )
    Qwen3ForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        if (model_folder / name).is_file():
            shutil.copy(model_folder / name, folder)
    return folder


def measure_platform(work: Work, output_dir: Path) -> Figures:
    """Train with the platform's recipe."""
    from training_backend.recipes.sft import Plan, fit
    from training_backend.recipes.task import Sample

    class Reported:
        """Passes the recipe's steps to the clock; checkpoints stay where they are."""

        def started(self, total_steps: int, *, sampler: str | None = None) -> None:
            assert total_steps == work.steps

        def phase(self, phase: Phase) -> None:
            return

        def log(self, message: str) -> None:
            print(message, file=sys.stderr)

        def metrics(self, step: int, values: Mapping[str, float]) -> None:
            clock.step(values["loss"])

        def samples(self, step: int, samples: Sequence[Sample]) -> None:
            return

        def checkpoint(self, step: int, folder: Path) -> None:
            return

    clock = StepClock()
    rows = work.rows().rows
    table = SftTable(
        max_steps=work.steps, batch_size=BATCH_SIZE, learning_rate=1e-3, lora_rank=16, save_every=0
    )
    fit(Plan(rows, work.model_folder, output_dir, table, SEED), Reported())
    return clock.figures(list(rows))


def measure_trl(work: Work, output_dir: Path) -> Figures:
    """Train with TRL's trainer as it comes, on rows whose tokens and labels are ours.

    Its own way from messages to tokens trains on what others say, or needs a template of its own.
    """
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import TrainerCallback
    from trl import SFTConfig, SFTTrainer

    class Reported(TrainerCallback):  # type: ignore[misc]
        """Passes the trainer's steps to the clock."""

        def on_log(self, args: object, state: object, control: object, **kwargs: object) -> None:
            logs = kwargs["logs"]
            if isinstance(logs, dict) and "loss" in logs:
                clock.step(logs["loss"])

    clock = StepClock()
    made = work.rows().rows
    order = row_order(len(made), take=work.steps * BATCH_SIZE, seed=SEED)
    rows = [{"input_ids": made[i].ids, "labels": made[i].labels} for i in order]
    dtype = torch.bfloat16 if torch.cuda.is_available() else torch.float32
    trainer = SFTTrainer(
        model=str(work.model_folder),
        args=SFTConfig(
            output_dir=str(output_dir),
            max_steps=work.steps,
            per_device_train_batch_size=BATCH_SIZE,
            train_sampling_strategy="sequential",
            learning_rate=1e-3,
            warmup_steps=3 * work.steps // 100,
            gradient_checkpointing=False,
            use_cpu=not torch.cuda.is_available(),
            model_init_kwargs={"dtype": dtype},
            seed=SEED,
            logging_steps=1,
            report_to=[],
            disable_tqdm=True,
        ),
        train_dataset=Dataset.from_list(rows),
        peft_config=LoraConfig(
            r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"
        ),
        callbacks=[Reported()],
    )
    trainer.train()
    return clock.figures(list(made))


MEASURES: Mapping[str, Callable[[Work, Path], Figures]] = {
    "platform": measure_platform,
    "trl": measure_trl,
}


def report(
    model: str, loads: Mapping[str, Mapping[str, Sequence[Figures]]], *, steps: int, threads: int
) -> str:
    """Write the comparison as Markdown, a table for each work load."""
    rounds = len(next(iter(loads.values()))["platform"])
    lines = [
        f"Work: {model}, LoRA rank 16, {steps} steps of {BATCH_SIZE} rows, {threads} threads, "
        f"{rounds} rounds each, alternating.",
        machine(("torch", "transformers", "trl", "peft")),
    ]
    for load, measured in loads.items():
        lines += [
            *("", f"{load}:", "", *table(measured), ""),
            "Platform over TRL, median of the rounds: "
            f"**{ratio(measured, 'seconds a step', *SIDES):.2f}** of its time (target: at most "
            f"{TARGET_RATIO}), {ratio(measured, 'processor seconds', *SIDES):.2f} of its processor "
            f"time, {ratio(measured, 'peak GB', *SIDES):.2f} of its memory.",
        ]
    return "\n".join(lines)


def main() -> None:
    """Measure both sides and print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--load", choices=LOADS, help="only this work load")
    parser.add_argument("--model-shape", choices=[QWEN3_06B], help="random weights in this shape")
    parser.add_argument("--model-folder", type=Path, help="instead of the embedded base model")
    parser.add_argument("--cache-dir", type=Path, default=Path.home() / ".freesolo" / "cache")
    parser.add_argument("--markdown", type=Path, help="write the table to this file as well")
    parser.add_argument("--measure", choices=SIDES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    folder = options.model_folder or local_path(SMOLLM2_135M, options.cache_dir)
    with tempfile.TemporaryDirectory() as scratch:
        if options.measure:
            work = Work(folder, options.load, options.steps)
            run_side(lambda: MEASURES[options.measure](work, Path(scratch)))
            return
        if options.model_shape:
            folder = build_shape(Path(scratch, "model"), folder)
        rounds = {
            load: measure_in_turns(
                Path(__file__),
                SIDES,
                rounds=options.rounds,
                threads=options.threads,
                arguments=[
                    *("--steps", str(options.steps), "--load", load),
                    *("--model-folder", str(folder)),
                ],
            )
            for load in ([options.load] if options.load else LOADS)
        }
    model = options.model_shape or (options.model_folder or SMOLLM2_135M.id)
    text = report(str(model), rounds, steps=options.steps, threads=options.threads)
    print(text)
    if options.markdown:
        options.markdown.write_text(text + "\n")


if __name__ == "__main__":
    main()
