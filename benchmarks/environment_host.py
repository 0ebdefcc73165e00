"""What it costs to run an environment in a process of its own, beside scoring in this one.

Four questions, each answered with and without bubblewrap: what a response costs more than in process,
how soon a host is ready, what a large dataset takes, and what a thousand rewards in a row that hang
leave behind::

    python benchmarks/environment_host.py --hangs 1000 --markdown table.md
"""

import argparse
import os
import platform
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from freesolo.datasets import load_dataset
from freesolo.environments import load_environment
from freesolo.runtime.client import EnvironmentHost, HostOptions, SandboxMode, open_host

BATCH = 64
ROWS = 100_000
TARGET_ADDED_MS = 0.3
TARGET_START_SECONDS = 0.5
HANG_SECONDS = 0.05

# An answer's last number is compared with the gold one, as many rewards do.
ENVIRONMENT = f"""
import re
import time

from freesolo.environments import EnvironmentSingleTurn, RewardResult


class LastNumber(EnvironmentSingleTurn):
    def __init__(self, rows):
        self.dataset = [
            {{"input": f"What is {{n}} + {{n}}? " + 150 * "x", "output": str(2 * n)}}
            for n in range(rows)
        ]

    def build_prompt_messages(self, example, prompt_text):
        return [{{"role": "user", "content": example.input}}]

    def score_response(self, example, response_text):
        if response_text == "hang":
            time.sleep(3600)
        found = re.findall(r"-?\\d+", response_text)
        return RewardResult(float(bool(found) and found[-1] == example.output))


def load_environment(rows={BATCH}):
    return LastNumber(rows)
"""


@dataclass(frozen=True)
class Measurement:
    """One line of the table: what was measured, in which unit, and how it is in this process."""

    name: str
    unit: str
    host: float
    in_process: float | None
    target: str = ""


def answers() -> list[str]:
    """Answers as a small model writes them, each another one."""
    reasoning = "First I add the two numbers, then I check the sum once more. " * 6
    return [f"{reasoning}So the answer is {number}." for number in range(BATCH)]


def seconds_of(call: Callable[[], object], rounds: int) -> float:
    """Return the median time of a call."""
    times = []
    for _ in range(rounds):
        before = time.perf_counter()
        call()
        times.append(time.perf_counter() - before)
    return statistics.median(times)


def score(folder: Path, options: HostOptions, rounds: int) -> Iterator[Measurement]:
    """Score batches of answers here and in a host, in turns, so that both meet the same machine."""
    environment = load_environment(str(folder / "environment.py"))
    example = load_dataset(environment.dataset).examples[3]
    batch = answers()
    here, there = [], []
    with open_host(folder, options) as host:
        asked = host.examples()[3]
        for _ in range(rounds):
            here.append(seconds_of(lambda: environment.score_responses(example, batch), 1))
            there.append(seconds_of(lambda: host.score_responses(asked, batch), 1))
        one = seconds_of(lambda: host.score_responses(asked, batch[:1]), rounds)
    inside, outside = statistics.median(here), statistics.median(there)
    yield Measurement(f"score a batch of {BATCH}", "ms", outside * 1e3, inside * 1e3)
    added = (outside - inside) / BATCH * 1e3
    yield Measurement("added to a response", "ms", added, None, f"≤ {TARGET_ADDED_MS}")
    alone = seconds_of(lambda: environment.score_responses(example, batch[:1]), rounds)
    yield Measurement("score one response", "ms", one * 1e3, alone * 1e3)


def start(folder: Path, options: HostOptions, rounds: int) -> Iterator[Measurement]:
    """Open and close hosts whose virtual environment is there already."""
    opened, closed = [], []
    for _ in range(rounds):
        before = time.perf_counter()
        host = open_host(folder, options)
        opened.append(time.perf_counter() - before)
        closed.append(seconds_of(host.close, 1))
    start_seconds = statistics.median(opened)
    yield Measurement("start", "s", start_seconds, None, f"≤ {TARGET_START_SECONDS}")
    yield Measurement("close", "s", statistics.median(closed), None)


def read(folder: Path, options: HostOptions) -> Iterator[Measurement]:
    """Read a large dataset to its end, and see what that adds to this process."""
    with open_host(folder, options, params={"rows": ROWS}) as host:
        before = psutil.Process().memory_info().rss
        seconds = seconds_of(lambda: sum(1 for _ in host.examples()), 1)
        grown = max(0, psutil.Process().memory_info().rss - before)
    environment = load_environment(str(folder / "environment.py"), rows=ROWS)
    here = seconds_of(lambda: load_dataset(environment.dataset), 1)
    yield Measurement(f"read {ROWS:,} rows", "s", seconds, here)
    yield Measurement("memory that takes here", "MB", grown / 1e6, None)


def hang(folder: Path, options: HostOptions, times: int) -> Iterator[Measurement]:
    """Ask a reward that hangs, again and again, and count what is there afterwards and was not."""
    before = left_over()
    with open_host(folder, options) as host:
        example = host.examples()[0]
        began = time.perf_counter()
        for _ in range(times):
            (lost,) = host.score_responses(example, ["hang"])
            assert lost.reward is None
        each = (time.perf_counter() - began) / times
        assert sound(host)
    found = zip(left_over(), before, strict=True)
    processes, files, descriptors = (len(after - earlier) for after, earlier in found)
    name = f"{times} rewards that hang for {HANG_SECONDS * 1e3:g} ms"
    yield Measurement(f"{name}: each", "s", each, None)
    yield Measurement("processes left behind", "", processes, None, "0")
    yield Measurement("files left behind", "", files, None, "0")
    yield Measurement("descriptors left open", "", descriptors, None, "0")


def sound(host: EnvironmentHost) -> bool:
    """Say whether the host still scores as it should."""
    (scored,) = host.score_responses(host.examples()[0], ["so it is 0"])
    return scored.reward == 1.0


def left_over() -> tuple[set[str], set[str], set[str]]:
    """Return this process's descendants, its temporary files, and its open descriptors."""
    return (
        {str(child.pid) for child in psutil.Process().children(recursive=True)},
        {path.name for path in Path(tempfile.gettempdir()).iterdir()},
        {path.name for path in Path("/proc/self/fd").iterdir()},
    )


def table(measured: Sequence[tuple[SandboxMode, Measurement]]) -> Iterator[str]:
    """Yield the lines of a table in Markdown."""
    yield "| | bubblewrap | host | in process | / in process | target |"
    yield "|---|---|---|---|---|---|"
    for mode, line in measured:
        peer = "" if line.in_process is None else f"{line.in_process:.3g}"
        ratio = "" if not line.in_process else f"{line.host / line.in_process:.2g} x"
        name = f"{line.name}, {line.unit}" if line.unit else line.name
        sandbox = "on" if mode is SandboxMode.REQUIRED else "off"
        yield f"| {name} | {sandbox} | {line.host:.3g} | {peer} | {ratio} | {line.target} |"


@contextmanager
def scratch() -> Iterator[Path]:
    """Have a folder with the environment and an empty cache, and one for all temporary files."""
    folder = Path(tempfile.mkdtemp(prefix="benchmark-"))
    tempfile.tempdir = str(folder / "temporary")
    try:
        for name in ("environment", "temporary"):
            (folder / name).mkdir()
        (folder / "environment" / "environment.py").write_text(ENVIRONMENT)
        yield folder
    finally:
        tempfile.tempdir = None
        shutil.rmtree(folder, ignore_errors=True)


def measure(arguments: argparse.Namespace) -> Iterator[tuple[SandboxMode, Measurement]]:
    """Yield every measurement, with the sandbox it was made in."""
    with scratch() as folder:
        environment = folder / "environment"
        for mode in (SandboxMode.OFF, SandboxMode.REQUIRED):
            options = HostOptions(folder / "cache", sandbox=mode)
            impatient = HostOptions(folder / "cache", sandbox=mode, call_timeout=HANG_SECONDS)
            # Once before anything is timed: this makes the virtual environment.
            open_host(environment, options).close()
            for line in (
                *score(environment, options, arguments.rounds),
                *start(environment, options, max(3, arguments.rounds // 5)),
                *read(environment, options),
                *hang(environment, impatient, arguments.hangs),
            ):
                print(f"{mode}: {line.name}: {line.host:.3g} {line.unit}", file=sys.stderr)
                yield mode, line


def main() -> None:
    """Measure, and print or write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--hangs", type=int, default=1000)
    parser.add_argument("--markdown", type=Path)
    arguments = parser.parse_args()
    lines = list(table(list(measure(arguments))))
    machine = (
        f"Machine: {platform.machine()}, {os.cpu_count()} cores, "
        f"load {os.getloadavg()[0]:.1f} at the end; Python {platform.python_version()}, "
        f"Linux {platform.release()}."
    )
    text = "\n".join([machine, "", *lines, ""])
    print(text)
    if arguments.markdown:
        arguments.markdown.write_text(text)


if __name__ == "__main__":
    main()
