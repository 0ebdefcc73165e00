"""How well the memory of a run is foretold: SFT and GRPO at several shapes of rows.

Each case trains three steps in a process of its own, and its peak is compared with
`freesolo.domain.memory`. SFT is trained by the platform's recipe. GRPO samples and trains as its
recipe does, but every answer is as long as it may be and counts, which is what the peak is foretold
for: no token ends one, and advantages are made up. The second model is random, and of other
proportions than the first: what was fitted to one must hold for both::

    python benchmarks/memory.py --markdown table.md
    python benchmarks/memory.py --only grpo
"""

import argparse
import json
import os
import platform
import random
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.side_by_side import Figures, measure_apart, run_side
from freesolo.base_models.store import local_path
from freesolo.domain.catalog import SMOLLM2_135M, BaseModelEntry, LocalSource
from freesolo.domain.memory import Memory, peak_memory
from freesolo.domain.model_shapes import shape_from_config
from freesolo.domain.train_spec import TrainSpec, parse_train_spec
from freesolo.domain.watchdog import Phase
from training_backend.data import GoldRow, lengths_of
from training_backend.recipes.task import Sample

STEPS = 3
SEED = 42
WIDE = {
    "hidden_size": 512,
    "intermediate_size": 4096,
    "num_hidden_layers": 12,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "vocab_size": 49_152,
    "tie_word_embeddings": True,
    "max_position_embeddings": 4096,
}


@dataclass(frozen=True)
class Case:
    """A step of `rows` rows, which are prompts if each has a `group` of rollouts; sizes in tokens."""

    model: str
    rows: int
    prompt: int
    answer: int
    rank: int = 16
    group: int = 0

    @property
    def algorithm(self) -> str:
        """What trains it."""
        return "grpo" if self.group else "sft"

    def __str__(self) -> str:
        return (
            f"{self.rows}{f' x {self.group}' if self.group else ''} x {self.prompt + self.answer}"
        )


CASES = (
    Case("embedded", 8, 54, 14),
    Case("embedded", 8, 1, 127),
    Case("embedded", 4, 224, 32),
    Case("embedded", 2, 1, 511, rank=8),
    Case("embedded", 1, 896, 128, rank=32),
    Case("wide", 8, 54, 14),
    Case("wide", 8, 96, 32),
    # The shape of benchmarks/grpo_vs_trl.py; groups that fill a pass each; a small step.
    Case("embedded", 4, 60, 48, group=8),
    Case("embedded", 2, 200, 100, group=8),
    Case("embedded", 2, 60, 24, group=4),
    Case("wide", 4, 60, 48, group=8),
)


def build_wide(folder: Path, tokenizer_from: Path) -> BaseModelEntry:
    """Write a random model of other proportions, with the embedded one's tokenizer."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    model = LlamaForCausalLM(LlamaConfig(**WIDE)).to(torch.bfloat16)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(tokenizer_from, local_files_only=True).save_pretrained(folder)
    return BaseModelEntry(
        id="wide",
        revision="random",
        source=LocalSource(path=str(folder)),
        parameters=model.num_parameters(),
        shape=shape_from_config(WIDE),
        context=4096,
        max_rank=64,
    )


def made_rows(case: Case) -> tuple[GoldRow, ...]:
    """Make rows of random tokens, all of one length."""
    draw = random.Random(SEED)
    return tuple(
        GoldRow(
            tuple(draw.randrange(1000, 40_000) for _ in range(case.prompt)),
            tuple(draw.randrange(1000, 40_000) for _ in range(case.answer)),
            (True,) * case.answer,
        )
        for _ in range(STEPS * case.rows)
    )


def spec_of(case: Case, model_id: str) -> TrainSpec:
    """Return the config of a case."""
    train = {"max_steps": STEPS, "batch_size": case.rows, "lora_rank": case.rank, "save_every": 0}
    if case.group:
        train |= {"group_size": case.group, "max_completion_tokens": case.answer}
    return parse_train_spec(
        {
            "model": model_id,
            "algorithm": case.algorithm,
            "environment": {"id": "local/rows"},
            "train": train,
        }
    )


def foretold(case: Case, model: BaseModelEntry) -> Memory:
    """Return what a case is said to take."""
    lengths = lengths_of(made_rows(case))
    memory = peak_memory(spec_of(case, model.id), model, lengths, gpu=False)
    assert memory is not None
    return memory


class Quiet:
    """A `Progress` to whom nobody listens."""

    def started(self, total_steps: int, *, sampler: str | None = None) -> None:
        """See that the run is as long as it is to be."""
        assert total_steps == STEPS

    def phase(self, phase: Phase) -> None:
        """Nobody watches."""

    def log(self, message: str) -> None:
        """Nothing is to be told."""

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Nothing is to be measured here."""

    def samples(self, step: int, samples: Sequence[Sample]) -> None:
        """Nothing is to be shown."""

    def checkpoint(self, step: int, folder: Path) -> None:
        """Leave it where it is."""


def measure(case: Case, model_folder: Path) -> Figures:
    """Train in this process, and note nothing but the memory that takes."""
    with tempfile.TemporaryDirectory() as output:
        (practise if case.group else imitate)(case, model_folder, Path(output))
    return {}


def imitate(case: Case, model_folder: Path, output: Path) -> None:
    """Train by SFT."""
    from training_backend.recipes.sft import Plan, fit

    train = spec_of(case, SMOLLM2_135M.id).train
    fit(Plan(made_rows(case), model_folder, output, train, SEED), Quiet())


def practise(case: Case, model_folder: Path, output: Path) -> None:
    """Sample whole answers to the case's prompts, and update the policy on all of them."""
    from training_backend.lora import find_device, load_base_model, with_adapter
    from training_backend.packing import Row
    from training_backend.policy import Objective
    from training_backend.policy_trainer import Course, Practice, train_policy
    from training_backend.recipes.model_chat import chat_format
    from training_backend.recipes.practising import in_process
    from training_backend.sampling.sampler import Request, Rules, seed_of

    device = find_device()
    model = with_adapter(load_base_model(model_folder, device), case.rank, warm_start=None)
    sampler = in_process(
        model,
        Rules(temperature=1.0, stop_ids=frozenset()),
        chat_format(model_folder, thinking=False),
        room=device.sampling_room,
    )
    rows = made_rows(case)

    def roll_out(step: int, numbers: Sequence[int]) -> Practice:
        sampler.policy_changed()
        asked = [
            Request(rows[number].prompt, seed_of(SEED, step, number, member), case.answer)
            for number in numbers
            for member in range(case.group)
        ]
        said = sampler.sample(asked)
        sampler.forget()
        learned = [
            Row(
                request.ids,
                answer.ids,
                trained=(True,) * len(answer.ids),
                advantages=(1.0 if place % 2 else -1.0,) * len(answer.ids),
                logprobs=answer.logprobs,
            )
            for place, (request, answer) in enumerate(zip(asked, said, strict=True))
        ]
        return Practice(learned, {})

    course = Course(
        order=range(STEPS * case.rows),
        steps=STEPS,
        train=spec_of(case, SMOLLM2_135M.id).train,
        objective=Objective(),
        seed=SEED,
        output_dir=output,
        sampler="in-process",
    )
    train_policy(model, course, roll_out, device=device, progress=Quiet())


def main() -> None:
    """Measure all cases and print them beside what was foretold."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cache-dir", type=Path, default=Path.home() / ".freesolo" / "cache")
    parser.add_argument("--markdown", type=Path, help="write the table to this file as well")
    parser.add_argument("--only", choices=("sft", "grpo"), help="measure cases of one algorithm")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    parser.add_argument("--model-folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        run_side(lambda: measure(Case(**json.loads(options.measure)), options.model_folder))
        return
    embedded = local_path(SMOLLM2_135M, options.cache_dir)
    lines = [
        f"Machine: {platform.machine()}, {os.cpu_count()} cores; {STEPS} steps, {options.threads} threads.",
        "",
        "| trained by | model | rows x tokens (answer) | rank | foretold, GB | measured, GB | error |",
        "|---|---|---|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory() as folder:
        models = {"embedded": SMOLLM2_135M, "wide": build_wide(Path(folder), embedded)}
        folders = {"embedded": embedded, "wide": Path(folder)}
        for case in CASES:
            if options.only not in (None, case.algorithm):
                continue
            said = foretold(case, models[case.model]).total / 1e9
            found = measure_apart(
                Path(__file__),
                json.dumps(asdict(case)),
                threads=options.threads,
                arguments=["--model-folder", str(folders[case.model])],
            )["peak GB"]
            lines.append(
                f"| {case.algorithm} | {case.model} | {case} ({case.answer}) | {case.rank} "
                f"| {said:.2f} | {found:.2f} | {said / found - 1:+.0%} |"
            )
            print(lines[-1], file=sys.stderr)
    print("\n".join(lines))
    if options.markdown:
        options.markdown.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
