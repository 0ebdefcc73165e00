"""What SmolLM2-135M learns on a CPU, by imitation, by practice, and by both: held-out scores.

Each cell of the table, a task by a method by a seed, is trained by the platform's recipes in a process of
its own, and asked the task's held-out questions, greedily. Cells are kept in a folder: what is there is
not made again, so that the table may be filled over several runs::

    python benchmarks/learning.py --list
    python benchmarks/learning.py --only reviews --seeds 42 43 44
    python benchmarks/learning.py --markdown table.md --curves curves.json
"""

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from types import SimpleNamespace
from typing import Any

from benchmarks.side_by_side import machine, quiet_environment
from freesolo.base_models.store import local_path
from freesolo.domain.catalog import SMOLLM2_135M
from freesolo.domain.statistics import wilson_interval
from freesolo.domain.train_spec import parse_train_spec
from freesolo.domain.watchdog import Phase
from freesolo.errors import EnvironmentFailed
from freesolo.package.templates import find_template, write_environment
from freesolo.runtime.client import EnvironmentHost, HostOptions, open_host

ROOT = Path(__file__).parent.parent
METHODS = ("base", "sft", "grpo", "sft+grpo")
ADAPTER = ("adapter_config.json", "adapter_model.safetensors")
# Mean rewards are told over so many steps, since each is of a few prompts only.
WINDOW = 5


@dataclass(frozen=True)
class Trained:
    """A task, a template or a folder of ours, and how it is trained on: the tables of its configs.

    `params` are the environment's, besides its split.
    """

    environment: str | Path
    sft: Mapping[str, object]
    grpo: Mapping[str, object]
    params: Mapping[str, object] = field(default_factory=dict)


def _sft(steps: int, context: int) -> dict[str, object]:
    return {
        "max_steps": steps,
        "batch_size": 8,
        "learning_rate": 1e-3,
        "lora_rank": 16,
        "max_context_tokens": context,
        "save_every": 0,
    }


def _grpo(tokens: int, context: int, **more: object) -> dict[str, object]:
    return {
        "max_steps": 40,
        "batch_size": 4,
        "group_size": 8,
        "max_completion_tokens": tokens,
        "learning_rate": 2e-4,
        "max_context_tokens": context,
        "save_every": 0,
        **more,
    }


# Imitation is cut short where practice is to go on from it: there must be something left to learn.
TASKS = {
    "reviews": Trained(ROOT / "benchmarks" / "reviews", _sft(4, 256), _grpo(8, 256)),
    "review rounds": Trained(
        ROOT / "benchmarks" / "reviews",
        _sft(4, 256),
        _grpo(8, 256, credit_assignment="per_turn"),
        {"rounds": 3},
    ),
    "dates": Trained("single-turn", _sft(6, 256), _grpo(16, 256)),
    "number hunt": Trained(
        "multi-turn",
        _sft(10, 256),
        _grpo(8, 256, credit_assignment="per_turn", learning_rate=1e-4),
    ),
}


@dataclass(frozen=True)
class Cell:
    """One training and its held-out score."""

    task: str
    method: str
    seed: int

    @property
    def name(self) -> str:
        """What its folder is called: the work that it is."""
        trained = TASKS[self.task]
        work = json.dumps([self.task, self.method, self.seed, trained.sft, trained.grpo])
        digest = hashlib.sha256(work.encode()).hexdigest()[:8]
        return f"{self.task}-{self.method}-{self.seed}-{digest}".replace(" ", "-")

    @property
    def parent(self) -> "Cell | None":
        """The cell whose adapter this one goes on from."""
        return Cell(self.task, "sft", self.seed) if self.method == "sft+grpo" else None


class Curve:
    """Keeps what each step said, and the last checkpoint. A `Progress`."""

    def __init__(self, folder: Path) -> None:
        self.steps: list[dict[str, float]] = []
        self._folder = folder

    def started(self, total_steps: int, *, sampler: str | None = None) -> None:
        """Nothing is to be told."""

    def phase(self, phase: Phase) -> None:
        """Nobody watches."""

    def log(self, message: str) -> None:
        """Say it where nobody measures."""
        print(message, file=sys.stderr)

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Keep a step."""
        self.steps.append({"step": step, **values})
        shown = {
            name: round(values[name], 3)
            for name in ("reward", "loss", "time/step")
            if name in values
        }
        print(step, shown, file=sys.stderr)

    def samples(self, step: int, samples: Sequence[object]) -> None:
        """Nothing is to be shown."""

    def checkpoint(self, step: int, folder: Path) -> None:
        """Keep the adapter."""
        for name in ADAPTER:
            shutil.copy(folder / name, self._folder / name)


def fill(cell: Cell, folder: Path, cache_dir: Path) -> dict[str, Any]:
    """Train and ask; return what the cell holds."""
    began = time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    curve = Curve(folder)
    refused = None
    if cell.method != "base":
        try:
            _train(cell, folder, cache_dir, curve)
        except EnvironmentFailed as error:
            # What no answer ever earned anything in cannot be practised; the table says so.
            refused = error.message
    trained = time.monotonic()
    scores = [] if refused else ask(cell, folder, cache_dir)
    return {
        "task": cell.task,
        "method": cell.method,
        "seed": cell.seed,
        "refused": refused,
        "passed": sum(bool(score["success"]) for score in scores),
        "total": len(scores),
        "mean_reward": fmean(score["reward"] for score in scores) if scores else 0.0,
        "steps": curve.steps,
        "train_seconds": round(trained - began, 1),
    }


def _train(cell: Cell, folder: Path, cache_dir: Path, curve: Curve) -> None:
    from training_backend.machine import find_machine
    from training_backend.recipes import RECIPES
    from training_backend.recipes.task import Task

    algorithm = "sft" if cell.method == "sft" else "grpo"
    table = dict(TASKS[cell.task].sft if algorithm == "sft" else TASKS[cell.task].grpo)
    parent = cell.parent
    table |= {"init_from_adapter": "run-0000000000"} if parent else {"lora_rank": 16}
    spec = parse_train_spec(_document(cell, algorithm, table))
    with _open(cell, "train", cache_dir) as host, tempfile.TemporaryDirectory() as scratch:
        lease: Any = SimpleNamespace(spec=spec, model=SMOLLM2_135M)
        task = Task(
            lease=lease,
            host=host,
            model_folder=local_path(SMOLLM2_135M, cache_dir),
            work_dir=Path(scratch),
            progress=curve,
            machine=find_machine(),
            resume_from=None,
            warm_start=folder.parent / parent.name if parent else None,
        )
        RECIPES[spec.algorithm](task)


def ask(cell: Cell, folder: Path, cache_dir: Path) -> list[dict[str, Any]]:
    """Return what each held-out question was worth, answered greedily."""
    from training_backend.lora import find_device, load_base_model, with_adapter
    from training_backend.recipes.model_chat import chat_format
    from training_backend.rollouts import Limits, Place, Stage, roll_out
    from training_backend.sampling.in_process import InProcessSampler
    from training_backend.sampling.sampler import Rules

    table = dict(TASKS[cell.task].grpo)
    spec = parse_train_spec(_document(cell, "grpo", table))
    model_folder = local_path(SMOLLM2_135M, cache_dir)
    base = load_base_model(model_folder, find_device())
    start = None if cell.method == "base" else folder
    model = with_adapter(base, 16, warm_start=start)
    chat = chat_format(model_folder, thinking=spec.thinking)
    # As good as greedy: a token that is less likely by a hundredth is never drawn.
    rules = Rules(temperature=1e-4, stop_ids=chat.stop_ids)
    sampler = InProcessSampler(model, rules, decode=lambda ids: chat.decode(ids, special=False))
    with _open(cell, "heldout", cache_dir) as host:
        stage = Stage(
            host,
            sampler,
            chat,
            Limits(turn=int(str(table["max_completion_tokens"])), context=256),
            0,
        )
        examples = list(host.examples())
        places = [Place(0, group, 0) for group in range(len(examples))]
        rollouts = roll_out(stage, examples, places)
    return [
        {
            "success": bool(rollout.score and rollout.score.success),
            "reward": rollout.reward or 0.0,
        }
        for rollout in rollouts
    ]


def _document(cell: Cell, algorithm: str, table: Mapping[str, object]) -> dict[str, object]:
    return {
        "model": SMOLLM2_135M.id,
        "algorithm": algorithm,
        "seed": cell.seed,
        "environment": {"id": "local/task"},
        "train": table,
    }


@contextmanager
def _open(cell: Cell, split: str, cache_dir: Path) -> Iterator[EnvironmentHost]:
    task = TASKS[cell.task]
    environment = task.environment
    with tempfile.TemporaryDirectory() as scratch:
        folder = environment if isinstance(environment, Path) else Path(scratch)
        if isinstance(environment, str):
            write_environment(find_template(environment), folder, name="task", org="local")
        options = HostOptions(cache_dir=cache_dir)
        with open_host(folder, options, params={"split": split, **task.params}) as host:
            yield host


def cells(tasks: Sequence[str], seeds: Sequence[int]) -> Iterator[Cell]:
    """Yield the cells of a table, parents first."""
    for task in tasks:
        yield Cell(task, "base", seeds[0])
        for seed in seeds:
            yield from (Cell(task, method, seed) for method in METHODS if method != "base")


def report(found: Sequence[Mapping[str, Any]]) -> str:
    """Write what is there as Markdown: a line a task, method and seed."""
    lines = [
        "| task | method | seed | held-out | 95 % interval | mean reward of steps, first and last "
        f"{WINDOW} | training, s |",
        "|---|---|---|---|---|---|---|",
    ]
    for cell in found:
        if cell["refused"]:
            lines.append(
                f"| {cell['task']} | {cell['method']} | {cell['seed']} | refused after "
                f"{len(cell['steps'])} steps: nothing was ever right | | | {cell['train_seconds']} |"
            )
            continue
        low, high = wilson_interval(cell["passed"], cell["total"])
        rewards = [step["reward"] for step in cell["steps"] if "reward" in step]
        rise = f"{fmean(rewards[:WINDOW]):.2f} → {fmean(rewards[-WINDOW:]):.2f}" if rewards else ""
        seed = "" if cell["method"] == "base" else cell["seed"]
        lines.append(
            f"| {cell['task']} | {cell['method']} | {seed} | {cell['passed']} of {cell['total']} "
            f"({cell['passed'] / cell['total']:.0%}) | {low:.0%} to {high:.0%} | {rise} | "
            f"{cell['train_seconds'] or ''} |"
        )
    return "\n".join([machine(("torch", "transformers", "trl", "peft")), "", *lines])


def main() -> None:
    """Fill what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="+", choices=TASKS, default=list(TASKS), metavar="TASK")
    parser.add_argument("--seeds", nargs="+", type=int, default=[42])
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "learning")
    parser.add_argument("--cache-dir", type=Path, default=Path.home() / ".freesolo" / "cache")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--minutes", type=float, help="begin no cell after so many minutes")
    parser.add_argument("--list", action="store_true", help="say what is there and what is not")
    parser.add_argument("--markdown", type=Path, help="write the table to this file as well")
    parser.add_argument("--cell", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.cell:
        task, method, seed = options.cell
        cell = Cell(task, method, int(seed))
        held = fill(cell, options.folder / cell.name, options.cache_dir)
        (options.folder / cell.name / "cell.json").write_text(json.dumps(held))
        return
    wanted = list(cells(options.only, options.seeds))
    if options.list:
        for cell in wanted:
            print(cell.name, "there" if _file(options.folder, cell).is_file() else "missing")
        return
    began = time.monotonic()
    for cell in wanted:
        late = options.minutes is not None and time.monotonic() - began > 60 * options.minutes
        if not _file(options.folder, cell).is_file() and not late:
            print(f"== {cell.name}", file=sys.stderr)
            subprocess.run(
                [
                    *(sys.executable, __file__, "--cell", cell.task, cell.method, str(cell.seed)),
                    *("--folder", str(options.folder), "--cache-dir", str(options.cache_dir)),
                ],
                env=quiet_environment(options.threads),
                check=True,
            )
    there = [path for cell in wanted if (path := _file(options.folder, cell)).is_file()]
    text = report([json.loads(path.read_text()) for path in there])
    print(text)
    if options.markdown:
        options.markdown.write_text(text + "\n")


def _file(folder: Path, cell: Cell) -> Path:
    return folder / cell.name / "cell.json"


if __name__ == "__main__":
    main()
