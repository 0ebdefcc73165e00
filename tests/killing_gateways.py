"""Gateways and engines under load that are killed at random moments, and what the ledger says then."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import httpx
import psutil
from openai import APIError, OpenAI
from openai.types import CompletionUsage
from sqlalchemy import func, select

from freesolo import processes
from freesolo.domain.catalog import SMOLLM2_135M
from freesolo.schemas.usage import Outcome
from hub_server.app import create_app
from hub_server.billing import service as billing
from hub_server.billing.service import HOLD_SECONDS
from hub_server.models import Balance, Credit, Hold, Usage
from hub_server.settings import HubSettings
from serving_backend.reconciliation import read_counters
from tests.hubs import LiveHub, make_keys, resources_of
from tests.platforms import wait_for
from tests.ports import free_port

_MODEL = SMOLLM2_135M.id
_CALLERS = 6
VICTIMS = ("gateway", "engine", "both")


@dataclass
class Told:
    """What callers were told: the tokens of whole answers by their ids, and how the others went.

    `before` are the tokens that the engine had counted before the first call, as for its self-test.
    """

    answers: dict[str, tuple[int, int]] = field(default_factory=dict)
    failed: int = 0
    hung_up: int = 0
    before: tuple[int, int] = (0, 0)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, name: str, usage: CompletionUsage | None) -> None:
        """Note an answer with what it took, None if its caller did not wait to hear that."""
        with self.lock:
            if usage is None:
                self.hung_up += 1
            else:
                counts = usage.prompt_tokens, usage.completion_tokens
                self.answers[name.removeprefix("chatcmpl-")] = counts


class Service:
    """A process of its own that answers at `ready`, started again whenever it is gone."""

    ready = "/readyz"

    def __init__(self, url: str, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        self.url = url
        self._command = [sys.executable, "-m", *arguments]
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        self._process = subprocess.Popen(
            self._command, env={**inherited(), **self._environment}, stderr=subprocess.DEVNULL
        )
        while True:
            with suppress(httpx.TransportError):
                if httpx.get(f"{self.url}{self.ready}", trust_env=False).is_success:
                    return
            assert self._process.poll() is None, "It ended while it started."
            time.sleep(0.05)

    def kill(self) -> None:
        """End it as a crash would, and start it again."""
        self.end(signal.SIGKILL)
        self.start()

    def tell(self, number: signal.Signals) -> None:
        """Send it a signal."""
        if self._process is not None:
            self._process.send_signal(number)

    def wait(self) -> int | None:
        """Wait for its end; return its exit status."""
        return self._process.wait() if self._process is not None else None

    def end(self, number: signal.Signals) -> None:
        """End it."""
        self.tell(number)
        self.wait()


class EngineKeeper(Service):
    """A process that keeps engines, with a folder for what they count: a gateway, or a host."""

    def __init__(
        self, hub: LiveHub, folder: Path, arguments: Sequence[str], **settings: object
    ) -> None:
        self.folder = folder
        port = free_port()
        settings = {
            "hub_url": hub.url,
            "api_key": hub.gateway_key,
            "port": port,
            "data_dir": folder,
            "cache_dir": folder / "cache",
            **settings,
        }
        super().__init__(
            f"http://127.0.0.1:{port}",
            arguments,
            {f"FREESOLO_SERVE_{name.upper()}": str(it) for name, it in settings.items()},
        )

    def kill_engine(self) -> None:
        """End its engine as a crash would, if there is one just now."""
        for engine in self._engines():
            with suppress(psutil.NoSuchProcess):
                engine.kill()

    def engine_counters(self) -> tuple[int, int]:
        """Return the tokens of prompts and of answers that the engine has counted in this life."""
        (engine,) = self._engines()
        command = engine.cmdline()
        port = command[command.index("--port") + 1] if "--port" in command else command[-1]
        page = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).raise_for_status()
        tokens = read_counters(page.text).tokens
        return tokens.prompt, tokens.completion

    def _engines(self) -> Iterator[psutil.Process]:
        for record in self.folder.glob("run/engine-*.json"):
            found = processes.read_record(record)
            if found is not None:
                with suppress(psutil.NoSuchProcess):
                    yield psutil.Process(found.session)


class Gateway(EngineKeeper):
    """A gateway's process, which starts an engine of its own."""

    def __init__(self, hub: LiveHub, folder: Path, module: str, **settings: object) -> None:
        super().__init__(hub, folder, module.split(), **settings)


class EngineHost(EngineKeeper):
    """A host of one engine as a process."""

    ready = "/healthz"

    def __init__(self, hub: LiveHub, folder: Path, model: str) -> None:
        super().__init__(hub, folder, ["serving_backend", "engine"], model=model)


class HubProcess(Service):
    """A hub as a process of its own, whose org pays beforehand; its database outlives it."""

    def __init__(self, settings: HubSettings) -> None:
        port = free_port()
        app = create_app(settings)
        keys = make_keys(app)
        self.live = LiveHub(
            f"http://127.0.0.1:{port}",
            user_key=keys.user,
            worker_key=keys.worker,
            gateway_key=keys.gateway,
            data_dir=settings.data_dir,
            app=app,
        )
        super().__init__(
            self.live.url,
            ["hub_server", "serve"],
            {
                "FREESOLO_SERVER_PORT": str(port),
                "FREESOLO_SERVER_DATA_DIR": str(settings.data_dir),
                "FREESOLO_SERVER_BILLING": settings.billing.value,
                "FREESOLO_SERVER_RATE_READS": "off",
                "FREESOLO_SERVER_RATE_WRITES": "off",
            },
        )


def inherited() -> dict[str, str]:
    """Return the variables of this process."""
    return dict(os.environ)  # noqa: TID251 - handed on, not read


@contextmanager
def callers(
    gateway: Gateway,
    key: str,
    seed: int,
    *,
    keeper: EngineKeeper | None = None,
    model: str = _MODEL,
) -> Iterator[Told]:
    """Let several callers ask, whole and streamed, and hang up now and then, while the block runs.

    The first call is made alone, so that it is known what the engine had counted before it. `keeper` has
    the engine, if the gateway has not.
    """
    told, stopping = Told(), threading.Event()
    first = OpenAI(base_url=f"{gateway.url}/v1", api_key=key, timeout=300)
    ask_whole(first, model, "first", told)
    (counts,) = told.answers.values()
    prompt, completion = (keeper or gateway).engine_counters()
    told.before = prompt - counts[0], completion - counts[1]

    def call(number: int) -> None:
        draw = random.Random(f"{seed} {number}")  # noqa: S311 - the same calls each time
        client = OpenAI(base_url=f"{gateway.url}/v1", api_key=key, max_retries=0, timeout=60)
        while not stopping.is_set():
            try:
                ask(client, model, draw, told)
            except APIError:
                with told.lock:
                    told.failed += 1
                time.sleep(0.25)

    with ThreadPoolExecutor(_CALLERS) as pool:
        calling = [pool.submit(call, number) for number in range(_CALLERS)]
        try:
            yield told
        finally:
            stopping.set()
    for each in calling:
        each.result()


def ask(client: OpenAI, model: str, draw: random.Random, told: Told) -> None:
    """Ask once; note what was told."""
    text = " ".join("word" for _ in range(draw.randint(1, 30)))
    kind = draw.choice(("whole", "streamed", "streamed", "hung up"))
    if kind == "whole":
        ask_whole(client, model, text, told)
        return
    stream = client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": text}],
        max_completion_tokens=40,
        stream=True,
        stream_options={"include_usage": True},
    )
    name, usage = "", None
    for count, chunk in enumerate(stream):
        name, usage = chunk.id, chunk.usage or usage
        if kind == "hung up" and count == draw.randint(1, 4):
            stream.close()
            break
    told.note(name, usage)


def ask_whole(client: OpenAI, model: str, text: str, told: Told) -> None:
    """Ask for an answer in one piece; note what was told."""
    answer = client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": text}], max_completion_tokens=40
    )
    told.note(answer.id, answer.usage)


def await_answer(told: Told, *, seconds: float = 180) -> None:
    """Wait until somebody was answered again."""
    before = len(told.answers)
    wait_for(lambda: len(told.answers) > before, seconds=seconds)


def kill_busy(gateway: Gateway, victim: str, told: Told, seconds: float) -> None:
    """Kill one of `VICTIMS` a while after it began to answer again."""
    await_answer(told)
    time.sleep(seconds)
    if victim != "gateway":
        gateway.kill_engine()
    if victim != "engine":
        gateway.kill()


def engine_sums(keeper: EngineKeeper, told: Told) -> tuple[int, int]:
    """Return the tokens of prompts and of answers that the engine has counted since the first call."""
    prompt, completion = keeper.engine_counters()
    return prompt - told.before[0], completion - told.before[1]


def ledger_sums(hub: LiveHub) -> tuple[int, int]:
    """Return the tokens of prompts and of answers that the hub has counted."""
    with resources_of(hub.app).readers() as session:
        sums = select(func.sum(Usage.prompt_tokens), func.sum(Usage.completion_tokens))
        prompt, completion = session.execute(sums).one()
    return int(prompt), int(completion)


def check_ledger(hub: LiveHub, told: Told, *keepers: EngineKeeper) -> Counter[str]:
    """Check that every answer was counted as it was told, that nothing is held, and the sums.

    Return how many requests ended how.
    """
    for keeper in keepers:
        await_settled(keeper)
    resources = resources_of(hub.app)
    with resources.readers() as session:
        rows = {row.id: row for row in session.scalars(select(Usage))}
        balance = session.scalars(select(Balance)).one()
        given = session.execute(select(func.sum(Credit.amount))).scalar_one() or 0
        holds = set(session.scalars(select(Hold.id)))
    for name, counts in told.answers.items():
        row = rows[name]
        assert row.outcome is Outcome.COUNTED, name
        assert (row.prompt_tokens, row.completion_tokens) == counts, name
    assert balance.balance == given - sum(row.amount for row in rows.values())
    assert not holds & rows.keys()
    # What is left was never dispatched, or nobody knows of it: it is freed in time.
    with resources.sessions.begin() as session:
        later = resources.clock() + timedelta(seconds=2 * HOLD_SECONDS)
        billing.free_expired(session, now=later)
        assert session.scalars(select(Balance.held)).one() == 0
    return Counter(row.outcome.value for row in rows.values())


def await_settled(keeper: EngineKeeper) -> None:
    """Wait until the hub has all that is in a folder."""
    usage = keeper.folder / "usage"
    patterns = ("*.sending", "open.jsonl", "engines/*/open/*", "engines/*/closed/*")
    deadline = time.monotonic() + 60
    while any(path for pattern in patterns for path in usage.glob(pattern)):
        assert time.monotonic() < deadline, "Something is never settled."
        time.sleep(0.05)
    # The last of it may be on its way.
    time.sleep(1.0)
