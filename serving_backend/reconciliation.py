"""Whether the ledger has what engines counted: vLLM's own counters against the rows of an engine's life.

They can be compared while an engine rests: nothing runs, and what it wrote down is with the hub. Then
each token of its counters is in the ledger, or nobody is billed for it (see `engine_journal`).
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

from freesolo.errors import FreesoloError
from serving_backend.engine import Engine, Session
from serving_backend.hub import Hub
from serving_backend.usage import UsageLog

logger = logging.getLogger(__name__)

_INTERVAL_SECONDS = 5.0
_PROMPT = "vllm:prompt_tokens_total"
_COMPLETION = "vllm:generation_tokens_total"
_BUSY = frozenset({"vllm:num_requests_running", "vllm:num_requests_waiting"})


@dataclass(frozen=True)
class Tokens:
    """Tokens of prompts and of completions."""

    prompt: int
    completion: int

    def __add__(self, other: "Tokens") -> "Tokens":
        return Tokens(self.prompt + other.prompt, self.completion + other.completion)

    def __sub__(self, other: "Tokens") -> "Tokens":
        return Tokens(self.prompt - other.prompt, self.completion - other.completion)


@dataclass(frozen=True)
class Counters:
    """What an engine has counted in one life, and how many requests it has now."""

    tokens: Tokens
    requests: int


class Reconciliation:
    """Compares the ledger with this process' engines, whose accounts `usage` delivers."""

    def __init__(self, engines: Callable[[], Iterable[Engine]], hub: Hub, usage: UsageLog) -> None:
        self._engines = engines
        self._hub = hub
        self._usage = usage
        # By the engine's life: its counters when that was last known, and the difference.
        self._known: dict[str, tuple[Counters, Tokens]] = {}

    async def compare_forever(self) -> None:
        """Compare again and again; while the hub or an engine is away, nothing is known."""
        pause = _INTERVAL_SECONDS
        while True:
            await asyncio.sleep(pause)
            began = time.monotonic()
            for session in [each.running for each in self._engines() if each.running is not None]:
                try:
                    await self._compare(session)
                # Whatever it is, a witness must not end what it watches.
                except (FreesoloError, OSError, ValueError, LookupError) as error:
                    logger.warning("ledger not compared", extra={"reason": str(error)})
            # A long life has many rows: no more than a hundredth of the time is spent on their sum.
            pause = max(_INTERVAL_SECONDS, 100 * (time.monotonic() - began))

    def unaccounted(self) -> Mapping[str, Tokens]:
        """Return the tokens that engines counted and the ledger has not, by base model, where known."""
        found: dict[str, Tokens] = {}
        for engine in self._engines():
            if engine.running is not None and engine.running.life in self._known:
                _, difference = self._known[engine.running.life]
                found[engine.model] = found.get(engine.model, Tokens(0, 0)) + difference
        return found

    async def _compare(self, session: Session) -> None:
        counters = await _look(session)
        known, difference = self._known.get(session.life, (None, Tokens(0, 0)))
        if counters.requests or counters == known:
            return
        if not await asyncio.to_thread(self._usage.is_delivered, session.life):
            return
        rows = await self._hub.engine_tokens(session.life)
        if await _look(session) != counters:
            return
        found = counters.tokens - Tokens(rows.prompt_tokens, rows.completion_tokens)
        self._known[session.life] = counters, found
        if found != difference:
            agrees = found == Tokens(0, 0)
            logger.log(
                logging.INFO if agrees else logging.ERROR,
                "ledger and engine agree again" if agrees else "ledger and engine differ",
                extra={
                    "engine": session.life,
                    "prompt_tokens": found.prompt,
                    "completion_tokens": found.completion,
                    "lost_requests": rows.lost,
                },
            )


def read_counters(page: str) -> Counters:
    """Read vLLM's page for Prometheus."""
    wanted = (_PROMPT, _COMPLETION, *_BUSY)
    # The rest of the page is a thousand lines of histograms.
    lines = [line for line in page.splitlines() if line.startswith(wanted)]
    sums = dict.fromkeys(wanted, 0.0)
    for family in text_string_to_metric_families("\n".join(lines) + "\n"):
        for sample in family.samples:
            # Others may begin with such a name.
            if sample.name in sums:
                sums[sample.name] += sample.value
    return Counters(
        Tokens(int(sums[_PROMPT]), int(sums[_COMPLETION])),
        requests=int(sum(sums[name] for name in _BUSY)),
    )


async def _look(session: Session) -> Counters:
    counters, unbilled = read_counters(await session.counters()), await session.unbilled()
    free = Tokens(unbilled["prompt_tokens"], unbilled["completion_tokens"])
    return Counters(counters.tokens - free, counters.requests)
