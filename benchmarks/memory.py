"""How well the memory of a run is foretold: SFT by the platform's recipe, at several shapes of rows.

Each case trains three steps in a process of its own, and its peak is compared with
`freesolo.domain.memory`. The second model is random, and of other proportions than the first: what
was fitted to one must hold for both::

    python benchmarks/memory.py --markdown table.md
"""

import argparse
import json
import os
import platform
import random
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.side_by_side import Figures, measure_apart, run_side
from freesolo.base_models.store import local_path
from freesolo.domain.catalog import SMOLLM2_135M, BaseModelEntry, LocalSource
from freesolo.domain.memory import Memory, peak_memory
from freesolo.domain.model_shapes import shape_from_config
from freesolo.domain.train_spec import parse_train_spec
from freesolo.domain.watchdog import Phase
from training_backend.data import GoldRow, lengths_of
from training_backend.recipes.task import Sample

STEPS = 3
SEED = 42
# Model, rows in a step, tokens of a row, tokens of its answer, rank.
CASES = (
    ("embedded", 8, 68, 14, 16),
    ("embedded", 8, 128, 127, 16),
    ("embedded", 4, 256, 32, 16),
    ("embedded", 2, 512, 511, 8),
    ("embedded", 1, 1024, 128, 32),
    ("wide", 8, 68, 14, 16),
    ("wide", 8, 128, 32, 16),
)
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
Case = tuple[str, int, int, int, int]


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
    _, batch, row, answer, _ = case
    draw = random.Random(SEED)
    return tuple(
        GoldRow(
            tuple(draw.randrange(1000, 40_000) for _ in range(row - answer)),
            tuple(draw.randrange(1000, 40_000) for _ in range(answer)),
            (True,) * answer,
        )
        for _ in range(STEPS * batch)
    )


def spec_document(case: Case, model_id: str) -> dict[str, object]:
    """Return the config of a case."""
    _, batch, _, _, rank = case
    train = {"max_steps": STEPS, "batch_size": batch, "lora_rank": rank, "save_every": 0}
    return {"model": model_id, "environment": {"id": "local/rows"}, "train": train}


def foretold(case: Case, model: BaseModelEntry) -> Memory:
    """Return what a case is said to take."""
    spec = parse_train_spec(spec_document(case, model.id))
    memory = peak_memory(spec, model, lengths_of(made_rows(case)), gpu=False)
    assert memory is not None
    return memory


def measure(case: Case, model_folder: Path) -> Figures:
    """Train in this process, and note nothing but the memory that takes."""
    from training_backend.recipes.sft import Plan, fit

    class Quiet:
        """Nobody listens."""

        def started(self, total_steps: int, *, sampler: str | None = None) -> None:
            assert total_steps == STEPS

        def phase(self, phase: Phase) -> None:
            return

        def log(self, message: str) -> None:
            return

        def metrics(self, step: int, values: Mapping[str, float]) -> None:
            return

        def samples(self, step: int, samples: Sequence[Sample]) -> None:
            return

        def checkpoint(self, step: int, folder: Path) -> None:
            return

    spec = parse_train_spec(spec_document(case, SMOLLM2_135M.id))
    with tempfile.TemporaryDirectory() as output:
        fit(Plan(made_rows(case), model_folder, Path(output), spec.train, SEED), Quiet())
    return {}


def main() -> None:
    """Measure all cases and print them beside what was foretold."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cache-dir", type=Path, default=Path.home() / ".freesolo" / "cache")
    parser.add_argument("--markdown", type=Path, help="write the table to this file as well")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    parser.add_argument("--model-folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        run_side(lambda: measure(tuple(json.loads(options.measure)), options.model_folder))
        return
    embedded = local_path(SMOLLM2_135M, options.cache_dir)
    lines = [
        f"Machine: {platform.machine()}, {os.cpu_count()} cores; {STEPS} steps, {options.threads} threads.",
        "",
        "| model | rows x tokens (answer) | rank | foretold, GB | measured, GB | error |",
        "|---|---|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory() as folder:
        models = {"embedded": SMOLLM2_135M, "wide": build_wide(Path(folder), embedded)}
        folders = {"embedded": embedded, "wide": Path(folder)}
        for case in CASES:
            name, batch, row, answer, rank = case
            said = foretold(case, models[name]).total / 1e9
            found = measure_apart(
                Path(__file__),
                json.dumps(case),
                threads=options.threads,
                arguments=["--model-folder", str(folders[name])],
            )["peak GB"]
            lines.append(
                f"| {name} | {batch} x {row} ({answer}) | {rank} | {said:.2f} | {found:.2f} "
                f"| {said / found - 1:+.0%} |"
            )
            print(lines[-1], file=sys.stderr)
    print("\n".join(lines))
    if options.markdown:
        options.markdown.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
