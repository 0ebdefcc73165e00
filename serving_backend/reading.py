"""A streamed answer between the task that reads it from the engine and the response that sends it."""

import asyncio
from collections.abc import Mapping
from typing import Any

from freesolo.errors import FreesoloError
from serving_backend.engine import Document

# Pieces that are kept for a caller who reads slowly. The engine is then read slowly too.
AHEAD = 256
# Pieces that are sent at once, if they wait.
TOGETHER = 32

Part = Document | FreesoloError | None
"""A piece; None after a complete answer, or the error that broke it off."""


class Reading:
    """One answer on its way, to one prompt or several."""

    def __init__(self) -> None:
        self.begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.usages: dict[int, Mapping[str, Any]] = {}
        self.piece_at: float | None = None
        self._left = False
        self._parts: asyncio.Queue[Part] = asyncio.Queue(AHEAD)

    async def put(self, part: Document) -> None:
        """Hand on a piece, when there is room for it; nobody who has left gets any."""
        if not self.begun.done():
            self.begun.set_result(None)
        if not self._left:
            await self._parts.put(part)

    async def next(self) -> list[Part]:
        """Return up to `TOGETHER` pieces that wait, at least one: a busy gateway sends several at once.

        After an end nothing counts, though a piece may come that had waited for room.
        """
        parts = [await self._parts.get()]
        while isinstance(parts[-1], dict) and len(parts) < TOGETHER and not self._parts.empty():
            parts.append(self._parts.get_nowait())
        return parts

    def leave(self) -> None:
        """Nobody listens any more. What still comes is only counted."""
        self._left = True
        while not self._parts.empty():
            self._parts.get_nowait()

    def break_off(self, error: FreesoloError) -> None:
        """Tell whoever waits that it ends here. What still comes is only counted."""
        self.leave()
        if self.begun.done():
            self._parts.put_nowait(error)
        else:
            self.begun.set_exception(error)

    async def end(self, error: FreesoloError | None) -> None:
        """Tell whoever waits that the answer is complete, broken off, or refused."""
        if error is not None and not self.begun.done():
            self.begun.set_exception(error)
            return
        if not self.begun.done():
            self.begun.set_result(None)
        if not self._left:
            await self._parts.put(error)
