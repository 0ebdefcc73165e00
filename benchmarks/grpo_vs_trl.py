"""GRPO by the platform's recipe against a plain TRL script: as many rollouts of the same prompts.

Both train a LoRA adapter of rank 16 on the embedded base model with their own way of sampling: TRL
with its default, `generate` of transformers. The reward varies from answer to answer, so that every
group has something to tell, and the learning rate is so small that both sides go on sampling from the
base model: answers are as long on both. Rounds alternate, each in a process of its own::

    python benchmarks/grpo_vs_trl.py --rounds 3 --steps 6 --markdown table.md
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from benchmarks.side_by_side import Figures, machine, measure_in_turns, ratio, run_side, table
from freesolo.base_models.store import local_path
from freesolo.domain.catalog import SMOLLM2_135M
from freesolo.domain.watchdog import Phase

SIDES = ("platform", "trl")
PROMPTS, GROUP, TOKENS = 4, 8, 48
SEED = 42
LEARNING_RATE = 1e-6
TARGET_RATIO = 0.6
QUESTIONS = [
    f"Tell me in one short sentence what a {thing} is good for, and who would like to have one."
    for thing in ("hammer", "violin", "bicycle", "lamp", "kettle", "ladder", "compass", "blanket")
]
ENVIRONMENT = f"""
from freesolo.environments import EnvironmentSingleTurn, RewardResult

class Vowels(EnvironmentSingleTurn):
    dataset = [{{"input": question}} for question in {QUESTIONS!r}]

    def build_prompt_messages(self, example, prompt_text):
        return [{{"role": "user", "content": example.input}}]

    def score_response(self, example, text):
        return RewardResult(sum(letter in "aeiou" for letter in text) / max(1, len(text)))

def load_environment():
    return Vowels()
"""


class StepClock:
    """Notes when each step was reported, and what it said of its answers. A `Progress`."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.lengths: list[float] = []
        self.reports: list[Mapping[str, float]] = []

    def started(self, total_steps: int, *, sampler: str | None = None) -> None:
        """Nothing is to be told."""

    def phase(self, phase: Phase) -> None:
        """Nobody watches."""

    def log(self, message: str) -> None:
        """Say it where nobody measures."""
        print(message, file=sys.stderr)

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Note a step."""
        self.times.append(time.perf_counter())
        self.lengths.append(values["completions/mean_length"])
        self.reports.append(values)

    def samples(self, step: int, samples: Sequence[object]) -> None:
        """Nothing is to be shown."""

    def checkpoint(self, step: int, folder: Path) -> None:
        """Leave it where it is."""

    def figures(self) -> Figures:
        """Sum up; the first step is warm-up."""
        seconds = [after - before for before, after in pairwise(self.times)]
        return {
            "seconds a step": statistics.median(seconds),
            "tokens an answer": statistics.mean(self.lengths),
        }


def measure_platform(model_folder: Path, steps: int, scratch: Path) -> Figures:
    """Train by the platform's recipe, its environment in a host."""
    from freesolo.domain.train_spec import parse_train_spec
    from freesolo.runtime.client import HostOptions, open_host
    from training_backend.machine import find_machine
    from training_backend.recipes import grpo
    from training_backend.recipes.task import Task

    environment = scratch / "vowels"
    environment.mkdir()
    (environment / "environment.py").write_text(ENVIRONMENT)
    table_ = {
        "max_steps": steps,
        "batch_size": PROMPTS,
        "group_size": GROUP,
        "max_completion_tokens": TOKENS,
        "learning_rate": LEARNING_RATE,
        "lora_rank": 16,
        "save_every": 0,
    }
    spec = parse_train_spec(
        {
            "model": SMOLLM2_135M.id,
            "algorithm": "grpo",
            "seed": SEED,
            "environment": {"id": "local/vowels"},
            "train": table_,
        }
    )
    clock = StepClock()
    lease: Any = SimpleNamespace(spec=spec, model=SMOLLM2_135M)
    with open_host(environment, HostOptions(cache_dir=scratch / "cache")) as host:
        grpo.train(
            Task(lease, host, model_folder, scratch, clock, find_machine(), resume_from=None)
        )
    shares = {
        part: statistics.median(report[f"time/{part}"] for report in clock.reports[1:])
        for part in ("rollouts", "update")
    }
    return {
        **clock.figures(),
        "of it sampling": shares["rollouts"],
        "of it update": shares["update"],
    }


def measure_trl(model_folder: Path, steps: int, scratch: Path) -> Figures:
    """Train as TRL's documentation shows it."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    clock = StepClock()

    class Reported(TrainerCallback):  # type: ignore[misc]
        """Passes the trainer's steps to the clock."""

        def on_log(self, args: object, state: object, control: object, **kwargs: Any) -> None:  # noqa: ANN401
            if "loss" in kwargs["logs"]:
                clock.metrics(0, kwargs["logs"])

    rollouts_each = {"sampling": 0.0}

    def vowels(completions: list[list[dict[str, str]]], **_: object) -> list[float]:
        texts = [completion[0]["content"] for completion in completions]
        return [sum(letter in "aeiou" for letter in text) / max(1, len(text)) for text in texts]

    class Timed(GRPOTrainer):  # type: ignore[misc]
        """Notes how long sampling and scoring take."""

        def _generate_and_score_completions(self, inputs: object) -> object:
            began = time.perf_counter()
            made = super()._generate_and_score_completions(inputs)
            rollouts_each["sampling"] = time.perf_counter() - began
            return made

    rows = [{"prompt": [{"role": "user", "content": question}]} for question in QUESTIONS]
    trainer = Timed(
        model=str(model_folder),
        reward_funcs=[vowels],
        args=GRPOConfig(
            output_dir=str(scratch),
            max_steps=steps,
            per_device_train_batch_size=GROUP,
            gradient_accumulation_steps=PROMPTS,
            num_generations=GROUP,
            max_completion_length=TOKENS,
            mask_truncated_completions=True,
            learning_rate=LEARNING_RATE,
            lr_scheduler_type="constant",
            loss_type="dapo",
            scale_rewards="none",
            gradient_checkpointing=False,
            use_cpu=not torch.cuda.is_available(),
            model_init_kwargs={"dtype": torch.float32},
            seed=SEED,
            logging_steps=1,
            save_strategy="no",
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
    figures = clock.figures()
    sampling = rollouts_each["sampling"]
    return {
        **figures,
        "of it sampling": sampling,
        "of it update": figures["seconds a step"] - sampling,
    }


MEASURES: Mapping[str, Callable[[Path, int, Path], Figures]] = {
    "platform": measure_platform,
    "trl": measure_trl,
}


def report(measured: Mapping[str, Sequence[Figures]], *, steps: int, threads: int) -> str:
    """Write the comparison as Markdown."""
    time_ratio = ratio(measured, "seconds a step", *SIDES)
    memory = ratio(measured, "peak GB", *SIDES)
    return "\n".join(
        [
            f"Work: {SMOLLM2_135M.id}, LoRA rank 16, {steps} steps of {PROMPTS} prompts with {GROUP} "
            f"rollouts of at most {TOKENS} tokens, {threads} threads, "
            f"{len(measured['platform'])} rounds each, alternating.",
            machine(("torch", "transformers", "trl", "peft")),
            "",
            *table(measured),
            "",
            f"Time for a step, platform over TRL, median of the rounds: **{time_ratio:.2f}** "
            f"(target: at most {TARGET_RATIO}). Peak memory: {memory:.2f}.",
        ]
    )


def main() -> None:
    """Measure both sides and print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--model-folder", type=Path, help="instead of the embedded base model")
    parser.add_argument("--cache-dir", type=Path, default=Path.home() / ".freesolo" / "cache")
    parser.add_argument("--markdown", type=Path, help="write the table to this file as well")
    parser.add_argument("--measure", choices=SIDES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    model_folder = options.model_folder or local_path(SMOLLM2_135M, options.cache_dir)
    if options.measure:
        with tempfile.TemporaryDirectory() as scratch:
            measure = MEASURES[options.measure]
            run_side(lambda: measure(model_folder, options.steps, Path(scratch)))
        return
    measured = measure_in_turns(
        Path(__file__),
        SIDES,
        rounds=options.rounds,
        threads=options.threads,
        arguments=["--steps", str(options.steps), "--model-folder", str(model_folder)],
    )
    text = report(measured, steps=options.steps, threads=options.threads)
    print(text)
    if options.markdown:
        options.markdown.write_text(text + "\n")


if __name__ == "__main__":
    main()
