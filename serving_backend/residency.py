"""Which adapters an engine holds: far fewer than are served, so they come and go.

An engine that holds more than it has memory for reads them from disk again in the middle of a batch, and
dies if they are not there. So it is never given more. Before another comes, the one that was used
least recently goes, but none while it answers somebody.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from freesolo.errors import EngineUnavailable

# How long a request waits for its adapter to be loaded, all the others being in use as a rule.
WAIT_SECONDS = 30.0
_RETRY_SECONDS = 5.0

Load = Callable[[str, Path], Awaitable[None]]
Remove = Callable[[str], Awaitable[None]]


class Residency:
    """The adapters of one life of an engine, at most `room` of them.

    They are loaded one at a time: a load stalls whatever the engine is answering.
    """

    def __init__(self, room: int, *, load: Load, remove: Remove) -> None:
        self._room = room
        self._load = load
        self._remove = remove
        # The least recently used first.
        self._resident: dict[str, Path] = {}
        # By how many requests each is used, or waited for.
        self._claims: Counter[str] = Counter()
        self._claimed: dict[str, Path] = {}
        # The one that is being loaded or taken out.
        self._moving: Path | None = None
        self._coming: dict[str, asyncio.Task[None]] = {}
        self._one_at_a_time = asyncio.Lock()
        self._let_go = asyncio.Event()

    @property
    def folders(self) -> set[Path]:
        """The folders that the engine may read: of adapters that are there, that come, that go."""
        moving = () if self._moving is None else (self._moving,)
        return {*self._resident.values(), *self._claimed.values(), *moving}

    async def remove_idle(self) -> None:
        """Take out every adapter that nobody uses."""
        async with self._one_at_a_time:
            for name in [name for name in self._resident if name not in self._claims]:
                await self._take_out(name)

    @asynccontextmanager
    async def using(
        self, name: str, folder: Path, *, wait_seconds: float = WAIT_SECONDS
    ) -> AsyncIterator[None]:
        """Have the adapter in the engine, where it stays until this ends.

        Raise `EngineUnavailable` if there is no room for it in time, and what loading it raises.
        """
        self._claims[name] += 1
        self._claimed[name] = folder
        try:
            await self._have(name, folder, wait_seconds)
            # The most recently used is last.
            self._resident[name] = self._resident.pop(name)
            yield
        finally:
            self._claims[name] -= 1
            if not self._claims[name]:
                del self._claims[name], self._claimed[name]
                self._let_go.set()

    async def _have(self, name: str, folder: Path, wait_seconds: float) -> None:
        try:
            async with asyncio.timeout(wait_seconds):
                while name not in self._resident:
                    # A load ends as it should, also if who began it no longer waits.
                    await asyncio.shield(self._coming.get(name) or self._begin(name, folder))
        except TimeoutError:
            raise EngineUnavailable(
                f"The engine holds {self._room} adapters, none of which could make room in time.",
                hint="Retry when it has less to do, or ask for an adapter that it holds.",
                retry_after=_RETRY_SECONDS,
            ) from None

    def _begin(self, name: str, folder: Path) -> "asyncio.Task[None]":
        task = asyncio.create_task(self._bring(name, folder))
        self._coming[name] = task
        task.add_done_callback(lambda _: self._came(name))
        return task

    def _came(self, name: str) -> None:
        task = self._coming.pop(name)
        # If it failed and nobody waits for it any more, nobody looks at the reason either.
        if not task.cancelled():
            task.exception()

    async def _bring(self, name: str, folder: Path) -> None:
        """Load an adapter when there is room, unless nobody wants it any more."""
        async with self._one_at_a_time:
            while len(self._resident) >= self._room and name in self._claims:
                await self._make_room()
            if name in self._claims:
                with self._keeping(folder):
                    await self._load(name, folder)
                    self._resident[name] = folder

    async def _make_room(self) -> None:
        """Take out the adapter that was used least recently, or wait until something is let go."""
        idle = next((name for name in self._resident if name not in self._claims), None)
        if idle is None:
            self._let_go.clear()
            await self._let_go.wait()
        else:
            await self._take_out(idle)

    async def _take_out(self, name: str) -> None:
        # First of all it is no longer here: whoever asks for it meanwhile has it loaded again.
        with self._keeping(self._resident.pop(name)):
            await self._remove(name)

    @contextmanager
    def _keeping(self, folder: Path) -> Iterator[None]:
        """Count a folder among those that the engine may read, whoever still wants its adapter."""
        self._moving = folder
        try:
            yield
        finally:
            self._moving = None
