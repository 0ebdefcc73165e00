"""A load of chat requests on one address, from a process of its own, with little work for each.

    python -m benchmarks.http_load '{"url": ..., "key": ..., "body": {...}, "callers": 8, "seconds": 4}'

It prints what it saw as JSON: `Answered`.
"""

import asyncio
import json
import random
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import cast
from urllib.parse import urlsplit

import uvloop

WARM_UP_SECONDS = 1.0


@dataclass(frozen=True)
class Load:
    """Who is asked what by how many callers, and for how long.

    The first `WARM_UP_SECONDS` are not among `seconds`. Before each question a caller pauses for up to `pause`
    seconds, drawn evenly: answers that all take the same time would otherwise keep the callers in step, and
    what is measured is how they wait for each other.
    """

    url: str
    key: str
    body: dict[str, object]
    callers: int
    seconds: float
    pause: float = 0.0


@dataclass
class Answered:
    """How it went.

    Of each answer that was asked for in the period, the milliseconds until its first piece and its end; how
    many answers ended in the period; and how many there were in all, with those of the warm-up.
    """

    first: list[float] = field(default_factory=list)
    whole: list[float] = field(default_factory=list)
    ended: int = 0
    in_all: int = 0


@dataclass(frozen=True)
class Period:
    """What is measured, in seconds of `time.perf_counter`."""

    begins: float
    ends: float


class Connection(asyncio.Protocol):
    """One caller: asks again when it is answered."""

    def __init__(
        self, request: bytes, answered: Answered, period: Period, pause: Callable[[], float]
    ) -> None:
        self._request = request
        self._answered = answered
        self._period = period
        self._pause = pause
        self._buffer = b""
        self._transport: asyncio.WriteTransport
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask."""
        self._transport = cast("asyncio.WriteTransport", transport)
        self._ask_soon()

    def data_received(self, data: bytes) -> None:
        """Take a piece of the answer; after the last, ask again."""
        self._buffer += data
        head, found, body = self._buffer.partition(b"\r\n\r\n")
        if not found or not body:
            return
        now = time.perf_counter()
        if not self._first:
            if not head.startswith(b"HTTP/1.1 200"):
                self._fail(f"answered {self._buffer[:500]!r}")
                return
            self._first = now
        if not _is_whole(head, body):
            return
        self._answered.in_all += 1
        self._answered.ended += self._period.begins <= now < self._period.ends
        if self._asked >= self._period.begins:
            self._answered.first.append(1000 * (self._first - self._asked))
            self._answered.whole.append(1000 * (now - self._asked))
        self._ask_soon()

    def connection_lost(self, error: Exception | None) -> None:
        """Fail if an answer was awaited."""
        self._fail("hung up")

    def _ask_soon(self) -> None:
        if pause := self._pause():
            asyncio.get_running_loop().call_later(pause, self._ask)
        else:
            self._ask()

    def _ask(self) -> None:
        self._buffer, self._first = b"", 0.0
        self._asked = time.perf_counter()
        if self._asked >= self._period.ends:
            self.done.set_result(None)
            self._transport.close()
            return
        self._transport.write(self._request)

    def _fail(self, reason: str) -> None:
        if not self.done.done():
            self.done.set_exception(RuntimeError(reason))


def _is_whole(head: bytes, body: bytes) -> bool:
    lowered = head.lower()
    if b"content-length:" in lowered:
        length = int(lowered.partition(b"content-length:")[2].partition(b"\r\n")[0])
        return len(body) >= length
    return body.endswith(b"0\r\n\r\n")


async def put(load: Load) -> Answered:
    """Ask for as long as the load says, and return how that went."""
    parts = urlsplit(load.url)
    content = json.dumps(load.body).encode()
    lines = (
        f"POST {parts.path} HTTP/1.1",
        f"Host: {parts.netloc}",
        f"Authorization: Bearer {load.key}",
        "Content-Type: application/json",
        f"Content-Length: {len(content)}",
    )
    request = "\r\n".join([*lines, "", ""]).encode() + content
    answered = Answered()
    begins = time.perf_counter() + WARM_UP_SECONDS
    period = Period(begins, begins + load.seconds)
    loop = asyncio.get_running_loop()
    draw = random.Random(1)  # The same pauses each time.
    done = []
    for _ in range(load.callers):
        _, connection = await loop.create_connection(
            lambda: Connection(request, answered, period, lambda: draw.uniform(0, load.pause)),
            parts.hostname,
            parts.port,
        )
        done.append(connection.done)
    await asyncio.gather(*done)
    return answered


if __name__ == "__main__":
    found = uvloop.run(put(Load(**json.loads(sys.argv[1]))))
    # Where PYTHONUNBUFFERED is set, `print` may write but a part of so much.
    with open(1, "w", closefd=False) as out:
        json.dump(asdict(found), out)
