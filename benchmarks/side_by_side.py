"""Two sides that do the same work, measured in turns, each round in a process of its own.

A script that compares says what a side is; what is here runs the rounds and takes the ratio round by
round, since rounds that follow each other meet the same noise.
"""

import json
import os
import platform
import resource
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

Figures = dict[str, float]

# What every process that shares the cores is told.
_QUIET = {
    "OMP_WAIT_POLICY": "passive",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
}


def measure_in_turns(
    script: Path, sides: Sequence[str], *, rounds: int, threads: int, arguments: Sequence[str]
) -> dict[str, list[Figures]]:
    """Run `script --measure SIDE` for each side in turn; return the figures of its rounds."""
    measured: dict[str, list[Figures]] = {side: [] for side in sides}
    for number in range(rounds):
        for side in sides:
            figures = measure_apart(script, side, threads=threads, arguments=arguments)
            measured[side].append(figures)
            shown = ", ".join(f"{name} {value:.4g}" for name, value in figures.items())
            print(f"round {number + 1}, {side}: {shown}", file=sys.stderr)
    return measured


def measure_apart(script: Path, side: str, *, threads: int, arguments: Sequence[str]) -> Figures:
    """Return what one side measures of itself in a process of its own."""
    output = subprocess.run(
        [sys.executable, str(script), "--measure", side, *arguments],
        env=quiet_environment(threads),
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    ).stdout
    figures: Figures = json.loads(output.splitlines()[-1])
    return figures


def quiet_environment(threads: int) -> dict[str, str]:
    """Return the environment of a process that trains beside others."""
    return {**os.environ, **_QUIET, "OMP_NUM_THREADS": str(threads)}  # noqa: TID251 - handed on


def run_side(measure: Callable[[], Figures]) -> None:
    """Measure one side in this process, and print it for `measure_apart`, with the memory it took.

    That is the accelerator's where there is one.
    """
    import torch

    figures = measure()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    if torch.cuda.is_available():
        peak = torch.cuda.max_memory_allocated() / 1e9
    print(json.dumps({**figures, "peak GB": peak}))


def ratio(measured: Mapping[str, Sequence[Figures]], name: str, ours: str, theirs: str) -> float:
    """Return the median over the rounds of one side's figure over the other's."""
    pairs = zip(measured[ours], measured[theirs], strict=True)
    return statistics.median(mine[name] / other[name] for mine, other in pairs)


def table(measured: Mapping[str, Sequence[Figures]]) -> list[str]:
    """Return the median of every figure of every side, as a table in Markdown."""
    names = list(next(iter(measured.values()))[0])
    rows = [
        f"| {side} | "
        + " | ".join(f"{statistics.median(one[name] for one in rounds):.4g}" for name in names)
        + " |"
        for side, rounds in measured.items()
    ]
    return [f"| | {' | '.join(names)} |", f"|---|{'---|' * len(names)}", *rows]


def machine(packages: Sequence[str]) -> str:
    """Return what this was measured on."""
    import torch

    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    return (
        f"Machine: {platform.machine()}, {os.cpu_count()} cores, {gpu}, load "
        f"{os.getloadavg()[0]:.1f} at the end; Python {platform.python_version()}, {versions}."
    )
