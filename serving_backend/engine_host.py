"""A host of one engine for gateways elsewhere: `python -m serving_backend engine`.

It keeps the engine alive, stages and loads the adapters that gateways ask for, hands the engine's
accounts to the hub, and says there where the engine is. Requests go from the gateways to the engine
directly. Told to end, it lets no new requests come, and ends when those under way are answered.
"""

import asyncio
import hmac
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends, FastAPI, Request, status
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from freesolo.domain.catalog import BaseModelEntry
from freesolo.errors import FreesoloError, Unauthorized
from freesolo.schemas.base import Artifact
from freesolo.schemas.replicas import CLAIM_SECONDS, NewReplica, ReplicaState
from serving_backend.adapters import AdapterStore, engine_name
from serving_backend.engine import Engine, EngineProcess, OwnSession
from serving_backend.hub import Hub
from serving_backend.loops import running
from serving_backend.reconciliation import Reconciliation
from serving_backend.self_test import self_test
from serving_backend.settings import EngineHostSettings
from serving_backend.usage import UsageLog, await_accounts, journal_of
from serving_backend.vllm_process import VllmProcess, stop_leftovers

logger = logging.getLogger(__name__)

ProcessFactory = Callable[[BaseModelEntry, EngineHostSettings], EngineProcess]

_PAUSE_SECONDS = 2.0
# As long as a large model may take to start; then it is asked for again.
_START_SECONDS = 900.0
# Gateways look once a second which engines take requests.
_HEARD_SECONDS = 2.5

router = APIRouter()


class EngineHost:
    """One engine, its adapters, and its entry in the hub's registry."""

    def __init__(
        self,
        settings: EngineHostSettings,
        hub: Hub,
        *,
        entry: BaseModelEntry,
        engine: Engine,
        adapters: AdapterStore,
    ) -> None:
        self._settings = settings
        self._hub = hub
        self._entry = entry
        self._engine = engine
        self._adapters = adapters
        self._announced: OwnSession | None = None
        # By the engine's life and the adapter's name: what comes when it is loaded, and until when it stays.
        self._keeping: dict[tuple[str, str], asyncio.Future[None]] = {}
        self._kept_until: dict[tuple[str, str], float] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def keep(self, key: str, adapter: Artifact) -> None:
        """Have an adapter in the engine, for as long as a claim holds.

        Raise `Unauthorized` unless `key` is that of the engine that runs now.
        """
        session = self._announced
        if session is None or not hmac.compare_digest(
            session.endpoint.api_key.encode(), key.encode()
        ):
            raise Unauthorized("This is not the key of the engine that runs here now.")
        name = engine_name(adapter)
        self._kept_until[session.life, name] = time.monotonic() + CLAIM_SECONDS
        if (session.life, name) not in self._keeping:
            loaded: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            task = asyncio.create_task(self._keep(session, adapter, loaded))
            self._keeping[session.life, name] = loaded
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        await asyncio.shield(self._keeping[session.life, name])

    async def _keep(
        self, session: OwnSession, adapter: Artifact, loaded: "asyncio.Future[None]"
    ) -> None:
        """Load an adapter, and let it go when nobody claims it any more."""
        name = engine_name(adapter)
        kept = session.life, name
        try:
            folder = await self._adapters.staged(adapter, self._entry)
            async with session.using(name, folder):
                loaded.set_result(None)
                await self._claims_end(kept)
        except FreesoloError as error:
            if not loaded.done():
                loaded.set_exception(error)
                # Nobody need be waiting any more.
                loaded.exception()
        finally:
            del self._keeping[kept], self._kept_until[kept]

    async def _claims_end(self, kept: tuple[str, str]) -> None:
        while True:
            left = self._kept_until[kept] - time.monotonic()
            if left <= 0:
                return
            await asyncio.sleep(left)

    async def announce_forever(self) -> None:
        """Say where the engine is, again and again, and that it is gone when it is."""
        while True:
            try:
                await asyncio.sleep(await self._announce())
            except FreesoloError as error:
                logger.warning("engine not announced", extra={"reason": error.message})
                await asyncio.sleep(_PAUSE_SECONDS)

    async def drain(self) -> None:
        """Take no new requests, wait until those under way are answered, and take leave."""
        if self._announced is None:
            return
        life = self._announced.life
        try:
            await self._tell(self._announced, ReplicaState.DRAINING)
            await asyncio.sleep(_HEARD_SECONDS)
            journal = journal_of(self._settings.data_dir / "usage", life)
            seconds = self._settings.drain_seconds
            await asyncio.to_thread(await_accounts, journal, seconds=seconds)
            await self._hub.leave(life)
        except FreesoloError as error:
            # The lease ends by itself.
            logger.warning("leave not taken", extra={"reason": error.message})

    async def _announce(self) -> float:
        """Tell of the engine that runs now; return the seconds until the next time."""
        session = await self._engine.session(wait_seconds=_START_SECONDS)
        before, self._announced = self._announced, session
        if before is not None and before.life != session.life:
            await self._hub.leave(before.life)
        return await self._tell(session, ReplicaState.READY) / 3

    async def _tell(self, session: OwnSession, state: ReplicaState) -> float:
        settings = self._settings
        name = settings.advertise or settings.host
        replica = NewReplica(
            base_model=self._entry.id,
            served_as=self._entry.served_as,
            url=f"http://{name}:{urlsplit(session.endpoint.url).port}",
            host_url=f"http://{name}:{settings.port}",
            api_key=session.endpoint.api_key,
            state=state,
        )
        return (await self._hub.announce(session.life, replica)).lease_seconds


def create_app(settings: EngineHostSettings, *, process: ProcessFactory | None = None) -> FastAPI:
    """Return a host as an ASGI application. `process` makes what runs its engine."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await asyncio.to_thread(stop_leftovers, settings)
        async with AsyncExitStack() as stack:
            hub = Hub(settings.hub_url, settings.api_key.get_secret_value())
            stack.push_async_callback(hub.close)
            entry = await hub.base_model(settings.model)
            engine = Engine(
                (process or _vllm)(entry, settings), model=entry.id, self_test=self_test
            )
            usage = UsageLog(settings.data_dir / "usage", hub)
            host = EngineHost(
                settings,
                hub,
                entry=entry,
                engine=engine,
                adapters=AdapterStore(
                    settings.data_dir / "adapters",
                    hub,
                    room=round(settings.adapter_disk_gib * 2**30),
                    in_use=lambda: engine.adapter_folders,
                ),
            )
            app.state.host = host
            # From here on back: no more requests, no engine, and what it counted is handed over.
            stack.push_async_callback(usage.hand_over)
            reconciliation = Reconciliation(lambda: [engine], hub, usage)
            for loop in (usage.deliver_forever, reconciliation.compare_forever):
                await stack.enter_async_context(running(loop))
            stack.push_async_callback(engine.close)
            stack.push_async_callback(host.drain)
            await stack.enter_async_context(running(host.announce_forever))
            yield

    app = FastAPI(title="Freesolo engine", lifespan=lifespan)
    app.include_router(router)
    app.add_exception_handler(FreesoloError, _answer_error)
    return app


async def _answer_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, FreesoloError)  # noqa: S101  registered for this class
    return JSONResponse(error.to_wire(), status_code=error.http_status)


def _vllm(entry: BaseModelEntry, settings: EngineHostSettings) -> EngineProcess:
    return VllmProcess(entry, settings, settings.host)


def _host(request: Request) -> EngineHost:
    host: EngineHost = request.app.state.host
    return host


@router.post("/v1/adapters", status_code=status.HTTP_204_NO_CONTENT)
async def load_adapter(
    adapter: Artifact,
    host: Annotated[EngineHost, Depends(_host)],
    key: Annotated[HTTPAuthorizationCredentials | None, Depends(HTTPBearer(auto_error=False))],
) -> None:
    """Have an adapter in the engine, under the name of its content."""
    await host.keep(key.credentials if key else "", adapter)


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """Say that the process lives. Whether its engine does is in the hub's registry."""
    return {"status": "ok"}
