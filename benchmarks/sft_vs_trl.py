"""SFT by the platform's recipe against a plain TRL script, on the same rows in the same order.

Both train a LoRA adapter of rank 16 on the embedded base model: float32 weights, bfloat16
autocast, no gradient checkpointing, as many threads. Rounds alternate, each in a process of its
own; the ratio is the median of the rounds' ratios::

    python benchmarks/sft_vs_trl.py --rounds 3 --steps 12 --markdown table.md
"""

import argparse
import calendar
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path

from freesolo.base_models.store import local_path
from freesolo.domain.catalog import SMOLLM2_135M
from freesolo.domain.train_tables import SftTable
from training_backend.data import Conversation, build_rows, row_order

SIDES = ("platform", "trl")
BATCH_SIZE = 8
EXAMPLES = 200
SEED = 42
TARGET_RATIO = 1.05
TARGET_PEAK_GB = 3.5
MONTHS = tuple(calendar.month_name)[1:]


@dataclass(frozen=True)
class Measurement:
    """One side's round: the median of its steps' seconds, the last loss, peak memory."""

    step_seconds: float
    final_loss: float
    tokens_per_row: float
    peak_gb: float


class StepClock:
    """Notes when each step was reported, and its loss."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.loss = float("nan")

    def step(self, loss: float) -> None:
        """Note one step."""
        self.times.append(time.perf_counter())
        self.loss = loss

    def measurement(self, tokens_per_row: float) -> Measurement:
        """Sum up."""
        return Measurement(
            step_seconds=statistics.median(
                after - before for before, after in pairwise(self.times)
            ),
            final_loss=self.loss,
            tokens_per_row=tokens_per_row,
            peak_gb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
        )


def conversations() -> list[Conversation]:
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


def measure_platform(model_folder: Path, steps: int, output_dir: Path) -> Measurement:
    """Train with the platform's recipe."""
    from transformers import AutoTokenizer

    from training_backend.recipes.sft import Plan, fit

    class Reported:
        """Passes the recipe's steps to the clock; checkpoints stay where they are."""

        def started(self, total_steps: int, *, sampler: str | None = None) -> None:
            assert total_steps == steps

        def log(self, message: str) -> None:
            print(message, file=sys.stderr)

        def metrics(self, step: int, values: Mapping[str, float]) -> None:
            clock.step(values["loss"])

        def checkpoint(self, step: int, folder: Path) -> None:
            return

    clock = StepClock()
    tokenizer = AutoTokenizer.from_pretrained(model_folder, local_files_only=True)
    rows = build_rows(conversations(), tokenizer, max_tokens=1024, thinking=False).rows
    table = SftTable(
        max_steps=steps, batch_size=BATCH_SIZE, learning_rate=1e-3, lora_rank=16, save_every=0
    )
    fit(Plan(rows, model_folder, output_dir, table, SEED), Reported())
    return clock.measurement(statistics.mean(len(row.input_ids) for row in rows))


def measure_trl(model_folder: Path, steps: int, output_dir: Path) -> Measurement:
    """Train as TRL's documentation shows it, on prompt and completion columns."""
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
    made = conversations()
    order = row_order(len(made), take=steps * BATCH_SIZE, seed=SEED)
    rows = [{"prompt": made[i].prompt, "completion": made[i].completion} for i in order]
    trainer = SFTTrainer(
        model=str(model_folder),
        args=SFTConfig(
            output_dir=str(output_dir),
            max_steps=steps,
            per_device_train_batch_size=BATCH_SIZE,
            train_sampling_strategy="sequential",
            learning_rate=1e-3,
            warmup_steps=-(-3 * steps // 100),
            gradient_checkpointing=False,
            use_cpu=not torch.cuda.is_available(),
            model_init_kwargs={"dtype": torch.float32},
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
    lengths = [len(ids) for ids in trainer.train_dataset["input_ids"]]
    trainer.train()
    return clock.measurement(statistics.mean(lengths))


MEASURES: Mapping[str, Callable[[Path, int, Path], Measurement]] = {
    "platform": measure_platform,
    "trl": measure_trl,
}


def measured_apart(side: str, model_folder: Path, *, steps: int, threads: int) -> Measurement:
    """Measure one round in a process of its own."""
    command = [sys.executable, __file__, "--measure", side, "--steps", str(steps)]
    command += ["--model-folder", str(model_folder)]
    quiet = {
        "OMP_NUM_THREADS": str(threads),
        "OMP_WAIT_POLICY": "passive",
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    environment = {**os.environ, **quiet}  # noqa: TID251 - handed on, not read
    output = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, check=True, text=True
    ).stdout
    return Measurement(**json.loads(output.splitlines()[-1]))


def report(rounds: Mapping[str, list[Measurement]], *, steps: int, threads: int) -> str:
    """Write the comparison as Markdown."""
    # Rounds that follow each other meet the same noise, so the ratio is taken round by round.
    ratio = statistics.median(
        ours.step_seconds / theirs.step_seconds
        for ours, theirs in zip(rounds["platform"], rounds["trl"], strict=True)
    )
    packages = ", ".join(
        f"{name} {version(name)}" for name in ("torch", "transformers", "trl", "peft")
    )
    work = (
        f"{SMOLLM2_135M.id}, LoRA rank 16, {steps} steps of {BATCH_SIZE} rows, "
        f"{rounds['platform'][0].tokens_per_row:.0f} tokens a row, {threads} threads, "
        f"{len(rounds['platform'])} rounds each, alternating."
    )
    lines = [
        f"Work: {work}",
        f"Machine: {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"{packages}.",
        "",
        "| | seconds a step (median round) | final loss | peak memory, GB |",
        "|---|---|---|---|",
        *(
            f"| {side} | {statistics.median(one.step_seconds for one in rounds[side]):.2f} | {rounds[side][0].final_loss:.4f} "
            f"| {max(one.peak_gb for one in rounds[side]):.2f} |"
            for side in SIDES
        ),
        "",
        f"Time per step, platform / TRL, median of the rounds: {ratio:.2f} "
        f"(target: at most {TARGET_RATIO}). Peak target: {TARGET_PEAK_GB} GB.",
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure both sides and print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--model-folder", type=Path, help="instead of the embedded base model")
    parser.add_argument("--cache-dir", type=Path, default=Path.home() / ".freesolo" / "cache")
    parser.add_argument("--markdown", type=Path, help="write the table to this file as well")
    parser.add_argument("--measure", choices=SIDES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    model_folder = options.model_folder or local_path(SMOLLM2_135M, options.cache_dir)
    if options.measure:
        with tempfile.TemporaryDirectory() as output_dir:
            one = MEASURES[options.measure](model_folder, options.steps, Path(output_dir))
        print(json.dumps(asdict(one)))
        return
    rounds: dict[str, list[Measurement]] = {side: [] for side in SIDES}
    for number in range(options.rounds):
        for side in SIDES:
            one = measured_apart(side, model_folder, steps=options.steps, threads=options.threads)
            rounds[side].append(one)
            print(
                f"round {number + 1}, {side}: {one.step_seconds:.2f} s a step, "
                f"final loss {one.final_loss:.4f}, peak {one.peak_gb:.2f} GB",
                file=sys.stderr,
            )
    table = report(rounds, steps=options.steps, threads=options.threads)
    print(table)
    if options.markdown:
        options.markdown.write_text(table + "\n")


if __name__ == "__main__":
    main()
