"""One engine: started when it is first needed, spoken to over HTTP, started again after a crash."""

import asyncio
import logging
import time
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import (
    AbstractAsyncContextManager,
    asynccontextmanager,
    contextmanager,
    suppress,
)
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import httpx
from httpx_aiohttp import AiohttpTransport

from freesolo.engines import Endpoint
from freesolo.errors import (
    ContextLengthExceeded,
    EngineUnavailable,
    FreesoloError,
    InvalidAdapter,
    InvalidInput,
)
from serving_backend.engine_journal import (
    ANSWERS_HEADER,
    METER_HEADER,
    UNBILLED_PATH,
    engine_id,
)
from serving_backend.engine_residency import PATH as _ADAPTERS
from serving_backend.residency import WAIT_SECONDS, Residency

logger = logging.getLogger(__name__)

# The name under which the engine serves the base model itself.
BASE_MODEL = "base"

CHAT_PATH = "/v1/chat/completions"

_POLL_SECONDS = 0.25
_FIRST_BACKOFF_SECONDS = 2.0
_LONGEST_BACKOFF_SECONDS = 60.0
# An engine that dies sooner than this after it was ready may die again at once.
_STABLE_SECONDS = 60.0
# An answer may be long in coming, but a machine that is alive sends something within this time.
_SILENCE_SECONDS = 600.0
# One that is dead refuses at once; one with much to do is late.
_CONNECT_SECONDS = 30.0
# For what an engine answers without computing anything.
_PROMPT_SECONDS = 5.0

Document = dict[str, Any]


@dataclass(frozen=True)
class Room:
    """How many adapters an engine mixes in one batch, and how many it holds in memory."""

    in_batch: int
    in_memory: int


class EngineProcess(Protocol):
    """What runs an engine: vLLM on this machine, or a stand-in."""

    @property
    def room(self) -> Room:
        """The engine's room for adapters."""
        ...

    async def write_adapters(self, folder: Path) -> Sequence[Path]:
        """Write as many small adapters for its model as one batch may mix; return their folders."""
        ...

    async def start(self) -> Endpoint:
        """Start the process and return its address, which need not answer yet.

        Raise `EngineUnavailable` if it cannot be started on this machine.
        """
        ...

    def is_alive(self) -> bool:
        """Say whether the process still runs."""
        ...

    async def ended(self) -> None:
        """Return when the process has ended."""
        ...

    async def stop(self) -> None:
        """End the process and everything that it started; harmless if there is nothing."""
        ...


class Session:
    """One life of an engine, from its start to its end, as those talk to it who ask for answers."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._http = httpx.AsyncClient(
            base_url=endpoint.url,
            headers={"Authorization": f"Bearer {endpoint.api_key}"},
            timeout=httpx.Timeout(_SILENCE_SECONDS, connect=_CONNECT_SECONDS),
            # Half the processor time of httpx's own for a request or a piece. 0 is no limit there.
            transport=AiohttpTransport(limits=httpx.Limits(max_connections=0)),
            # Engines are on this machine or beside it, to which no proxy of the environment leads.
            trust_env=False,
        )

    @property
    def life(self) -> str:
        """The name of this life of the engine."""
        return self.endpoint.life

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def is_healthy(self) -> bool:
        """Say whether the engine answers and can compute."""
        try:
            return (await self._http.get("/health", timeout=_PROMPT_SECONDS)).is_success
        except httpx.TransportError:
            return False

    async def context(self) -> int:
        """Return how many tokens a request may have, prompt and answer together."""
        models = (await self._get("/v1/models"))["data"]
        return next(int(model["max_model_len"]) for model in models if model["id"] == BASE_MODEL)

    async def complete(
        self,
        body: Mapping[str, object],
        request_id: str,
        *,
        path: str = CHAT_PATH,
        meter: str | None = None,
    ) -> Document:
        """Return the engine's answer to a request. Raise `InvalidInput` if it refuses it.

        With `meter`, which says who asks, the engine keeps an account of what it took.
        """
        with self._connected():
            response = await self._http.post(
                path, json=body, headers=_headers(request_id, meter, body)
            )
        if response.is_error:
            raise _error(response)
        answer: Document = response.json()
        return answer

    @asynccontextmanager
    async def stream(
        self,
        body: Mapping[str, object],
        request_id: str,
        *,
        path: str = CHAT_PATH,
        meter: str | None = None,
    ) -> AsyncIterator[AsyncIterator[str]]:
        """Open a streamed answer and yield the data of its events. Raise as `complete` does."""
        with self._connected():
            async with self._http.stream(
                "POST", path, json=body, headers=_headers(request_id, meter, body)
            ) as response:
                if response.is_error:
                    await response.aread()
                    raise _error(response)
                yield _events(response)

    async def counters(self) -> str:
        """Return vLLM's counters of this life, as Prometheus reads them."""
        with self._connected():
            response = await self._http.get("/metrics")
        if response.is_error:
            raise _error(response)
        return response.text

    async def unbilled(self) -> Mapping[str, int]:
        """Return the tokens among those counters that nobody is billed for."""
        return await self._get(UNBILLED_PATH)

    async def abort(self, request_ids: Iterable[str], *, path: str = CHAT_PATH) -> None:
        """End requests early. Their answers finish as usual, with the tokens counted so far."""
        # If the engine does not hear this, the answer runs to its own end.
        with suppress(EngineUnavailable), self._connected():
            await self._http.post(
                "/inference/v1/abort_requests",
                json={"request_ids": [engine_id(path, each) for each in request_ids]},
                timeout=_PROMPT_SECONDS,
            )

    async def _get(self, path: str) -> Document:
        with self._connected():
            response = await self._http.get(path)
        if response.is_error:
            raise _error(response)
        document: Document = response.json()
        return document

    @contextmanager
    def _connected(self) -> Iterator[None]:
        """Turn a connection that fails into `EngineUnavailable`: this life is at its end."""
        gone = EngineUnavailable(
            "The engine stopped answering.", hint="It is started again; retry.", retry_after=5.0
        )
        if self._http.is_closed:
            raise gone
        try:
            yield
        except (httpx.TransportError, httpx.StreamError):
            raise gone from None


class OwnSession(Session):
    """An engine of this process' own, with the adapters that it has loaded."""

    def __init__(self, endpoint: Endpoint, room: Room) -> None:
        super().__init__(endpoint)
        self._residency = Residency(room.in_memory, load=self._load, remove=self._remove)

    @property
    def folders(self) -> set[Path]:
        """The folders of adapters that this engine may read."""
        return self._residency.folders

    def using(
        self, name: str, folder: Path, *, wait_seconds: float = WAIT_SECONDS
    ) -> AbstractAsyncContextManager[None]:
        """Have an adapter in the engine under `name`, where it stays until this ends.

        Raise `EngineUnavailable` if there is no room for it, `InvalidAdapter` if it is refused.
        """
        return self._residency.using(name, folder, wait_seconds=wait_seconds)

    async def remove_idle(self) -> None:
        """Take every adapter out of the engine that nobody uses."""
        await self._residency.remove_idle()

    async def resident(self) -> list[str]:
        """Return the names of the adapters that the engine holds in memory, by its own account."""
        adapters: list[str] = (await self._get(_ADAPTERS))["adapters"]
        return adapters

    async def _load(self, name: str, folder: Path) -> None:
        with self._connected():
            response = await self._http.post(
                "/v1/load_lora_adapter", json={"lora_name": name, "lora_path": str(folder)}
            )
        # A load whose answer was lost; under this name it can only be the same content.
        known = response.status_code == 400 and "already been loaded" in response.text
        if response.is_error and not known:
            raise InvalidAdapter(f"The engine refused the adapter: {_reason(response)}")
        logger.info("adapter loaded", extra={"adapter": name})

    async def _remove(self, name: str) -> None:
        """Take an adapter out of the engine, its name first. Nothing may be using it."""
        with self._connected():
            response = await self._http.delete(f"{_ADAPTERS}/{name}")
        # One that is not there is what was wanted.
        if response.is_error and response.status_code != 404:
            raise _error(response)
        logger.info("adapter removed", extra={"adapter": name})


SelfTest = Callable[[EngineProcess, OwnSession], Awaitable[None]]
"""Raises `EngineUnavailable` for an engine that must not serve."""


class Engine:
    """The engine of one base model. It serves nobody before it has passed its `self_test`."""

    def __init__(self, process: EngineProcess, *, model: str, self_test: SelfTest) -> None:
        self._process = process
        self.model = model
        self.starts = 0
        self.deaths = 0
        self._self_test = self_test
        self._life: asyncio.Task[None] | None = None
        self._ready: asyncio.Future[OwnSession] | None = None
        self._one_life_at_a_time = asyncio.Lock()
        self._failures = 0
        self._resting_until = 0.0
        self._reason: FreesoloError

    async def session(self, *, wait_seconds: float) -> OwnSession:
        """Return the running engine, started if need be.

        Raise `EngineUnavailable` if it is not ready within `wait_seconds` or has failed to start
        just now, with the seconds after which to try again, and what `EngineProcess.start` raises.
        """
        if self._ready is None:
            self._ready = self._begin_life()
        try:
            return await asyncio.wait_for(asyncio.shield(self._ready), wait_seconds)
        except TimeoutError:
            raise EngineUnavailable(
                f"The engine of {self.model} is still starting.", retry_after=10.0
            ) from None

    @property
    def resident(self) -> int:
        """How many adapters it has loaded."""
        return len(self.running.folders) if self.running else 0

    @property
    def adapter_folders(self) -> set[Path]:
        """The folders of adapters that it may read, in this life."""
        return self.running.folders if self.running else set()

    @property
    def running(self) -> OwnSession | None:
        """The engine's life of now, if it is ready."""
        ready = self._ready
        if ready is None or not ready.done() or ready.exception() is not None:
            return None
        return ready.result()

    async def close(self) -> None:
        """End the engine."""
        if self._life is not None:
            self._life.cancel()
            await asyncio.wait([self._life])
        async with self._one_life_at_a_time:
            # Earlier lives have cleaned up after themselves, unless they were cancelled as they did.
            await self._process.stop()

    def _begin_life(self) -> "asyncio.Future[OwnSession]":
        rest = self._resting_until - time.monotonic()
        if rest > 0:
            raise EngineUnavailable(
                f"{self._reason.message} The engine is started again in {rest:.0f} s.",
                hint=self._reason.hint,
                retry_after=rest,
            )
        ready: asyncio.Future[OwnSession] = asyncio.get_running_loop().create_future()
        self._life = asyncio.create_task(self._live(ready))
        return ready

    async def _live(self, ready: "asyncio.Future[OwnSession]") -> None:
        """Start the process, announce it in `ready`, watch it, and clean up after its end."""
        async with self._one_life_at_a_time:
            try:
                endpoint = await self._process.start()
                async with OwnSession(endpoint, self._process.room) as session:
                    await self._until_healthy(session)
                    await self._self_test(self._process, session)
                    logger.info("engine ready", extra={"model": self.model})
                    self.starts += 1
                    ready.set_result(session)
                    ready_at = time.monotonic()
                    await self._process.ended()
                    logger.error("engine died", extra={"model": self.model})
                    self.deaths += 1
                    self._died(lived=time.monotonic() - ready_at)
            except FreesoloError as error:
                self._rest(error)
                logger.error("engine failed", extra={"model": self.model, "reason": error.message})
                _fail(ready, error)
            except OSError as error:
                # A full disk, say.
                refused = EngineUnavailable(f"The engine of {self.model} cannot start: {error}.")
                self._rest(refused)
                logger.exception("engine failed", extra={"model": self.model})
                _fail(ready, refused)
            finally:
                self._ready = None
                if not ready.done():
                    _fail(ready, EngineUnavailable(f"The engine of {self.model} was stopped."))
                await self._process.stop()

    async def _until_healthy(self, session: Session) -> None:
        while not await session.is_healthy():
            if not self._process.is_alive():
                raise EngineUnavailable(
                    f"The engine of {self.model} stopped while it started.",
                    hint="The gateway's data folder holds the engine's log.",
                )
            await asyncio.sleep(_POLL_SECONDS)

    def _died(self, *, lived: float) -> None:
        """Be ready for the next start at once, unless deaths follow each other quickly."""
        if lived > _STABLE_SECONDS:
            self._failures = 0
        elif self._failures:
            self._rest(EngineUnavailable(f"The engine of {self.model} died again."))
        else:
            self._failures = 1

    def _rest(self, reason: FreesoloError) -> None:
        pause = min(_FIRST_BACKOFF_SECONDS * 2**self._failures, _LONGEST_BACKOFF_SECONDS)
        self._failures += 1
        self._resting_until = time.monotonic() + pause
        self._reason = reason


def _fail(ready: "asyncio.Future[OwnSession]", error: FreesoloError) -> None:
    ready.set_exception(error)
    # Nobody need be waiting, and asyncio complains of an exception that nobody looked at.
    ready.exception()


def _headers(request_id: str, meter: str | None, body: Mapping[str, object]) -> dict[str, str]:
    headers = {"X-Request-Id": request_id}
    if meter is not None:
        headers[METER_HEADER] = meter
    if answers := body.get("n"):
        headers[ANSWERS_HEADER] = str(answers)
    return headers


async def _events(response: httpx.Response) -> AsyncIterator[str]:
    """Yield the data of server-sent events.

    Lines end at a line feed only; `aiter_lines` would end them at U+2028 too, which text may hold.
    """
    rest = b""
    async for piece in response.aiter_bytes():
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                yield line.removeprefix(b"data:").decode().strip()


def _error(response: httpx.Response) -> FreesoloError:
    reason = _reason(response)
    if response.status_code not in (400, 422):
        logger.error("engine refused", extra={"status": response.status_code, "reason": reason})
        return EngineUnavailable("The engine failed to answer.", retry_after=5.0)
    if "maximum context length" in reason:
        return ContextLengthExceeded(reason)
    return InvalidInput(reason)


def _reason(response: httpx.Response) -> str:
    try:
        return str(response.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"status {response.status_code}"
