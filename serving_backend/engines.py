"""The engines that a gateway runs itself: one for each base model, and no more than the machine has room for."""

import asyncio
import time
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from freesolo.domain.catalog import BaseModelEntry
from freesolo.errors import EngineUnavailable
from serving_backend.engine import Engine, EngineProcess, OwnSession
from serving_backend.self_test import self_test
from serving_backend.settings import ServingSettings

ProcessFactory = Callable[[BaseModelEntry, ServingSettings], EngineProcess]


class Engines:
    """One engine for each base model, started when it is first asked for.

    What a model is called does not say which it is: orgs name those that they add. Where another model
    needs the room, the engine that was asked least recently, and answers nobody, is ended.
    """

    def __init__(self, settings: ServingSettings, process: ProcessFactory) -> None:
        self._settings = settings
        self._process = process
        self._engines: dict[str, Engine] = {}
        self._uses: Counter[str] = Counter()
        # Which may run, the one asked least recently first.
        self._running: OrderedDict[str, None] = OrderedDict()
        self._changing = asyncio.Lock()
        self._released = asyncio.Event()

    @asynccontextmanager
    async def lend(
        self, entry: BaseModelEntry, *, wait_seconds: float
    ) -> AsyncIterator[OwnSession]:
        """Lend the engine of a base model, which is not ended meanwhile.

        Raise `EngineUnavailable` where there is no room for it within `wait_seconds`, and what
        `Engine.session` raises.
        """
        name, deadline = entry.served_as, time.monotonic() + wait_seconds
        self._uses[name] += 1
        try:
            await self._make_room(name, wait_seconds)
            left = max(0.0, deadline - time.monotonic())
            yield await self._of(entry).session(wait_seconds=left)
        finally:
            self._uses[name] -= 1
            self._released.set()

    def all(self) -> list[Engine]:
        """Return every engine that was asked for."""
        return list(self._engines.values())

    def adapter_folders(self) -> set[Path]:
        """Return the folders of adapters that some engine may read."""
        return {folder for engine in self._engines.values() for folder in engine.adapter_folders}

    async def close(self) -> None:
        """End every engine."""
        for engine in self._engines.values():
            await engine.close()

    def _of(self, entry: BaseModelEntry) -> Engine:
        if entry.served_as not in self._engines:
            process = self._process(entry, self._settings)
            self._engines[entry.served_as] = Engine(process, model=entry.id, self_test=self_test)
        return self._engines[entry.served_as]

    async def _make_room(self, name: str, wait_seconds: float) -> None:
        """Let an engine run, and end another for it where that is needed."""
        if name not in self._running:
            try:
                # Those whose engine runs do not wait until another has ended.
                async with asyncio.timeout(wait_seconds), self._changing:
                    while self._is_full(name):
                        await self._end_idle()
                    self._running.setdefault(name)
            except TimeoutError:
                raise EngineUnavailable(
                    f"All {self._settings.max_engines} engines that may run here answer other models.",
                    hint="FREESOLO_SERVE_MAX_ENGINES allows more, if the machine has the memory.",
                    retry_after=5.0,
                ) from None
        self._running.move_to_end(name)

    def _is_full(self, name: str) -> bool:
        return name not in self._running and len(self._running) >= self._settings.max_engines

    async def _end_idle(self) -> None:
        """End the engine that was asked least recently, as soon as one answers nobody."""
        while (
            idle := next((name for name in self._running if not self._uses[name]), None)
        ) is None:
            self._released.clear()
            await self._released.wait()
        # From here on whoever asks for it waits for room again.
        del self._running[idle]
        await self._engines[idle].close()
