"""The gateway's composition: what is made at start, how it is wired, and how it ends."""

import asyncio
import functools
import logging
import math
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from freesolo.errors import FreesoloError, Internal, NotFound, RateLimitExceeded, Unavailable
from serving_backend.adapters import AdapterStore
from serving_backend.answers import openapi
from serving_backend.completions import Completions
from serving_backend.deployer import Deployer
from serving_backend.engines import Engines, ProcessFactory
from serving_backend.fleet import Fleet
from serving_backend.hub import Hub
from serving_backend.loops import running
from serving_backend.metrics import Metrics
from serving_backend.openai_errors import error_body, http_status
from serving_backend.reconciliation import Reconciliation
from serving_backend.routes import router
from serving_backend.settings import ServingSettings
from serving_backend.usage import Holds, UsageLog
from serving_backend.vllm_process import VllmProcess, stop_leftovers

logger = logging.getLogger(__name__)

# Which answers are another when they are asked for again, and when that is if nobody knows better.
_PASSING = frozenset({RateLimitExceeded.http_status, Unavailable.http_status})
_RETRY_SECONDS = 5.0


def create_app(settings: ServingSettings, *, process: ProcessFactory = VllmProcess) -> FastAPI:
    """Return the gateway as an ASGI application. `process` makes what runs a base model's engine."""
    app = FastAPI(
        title="Freesolo gateway",
        lifespan=functools.partial(_lifespan, settings, process),
        # The pages load scripts from a foreign host; /openapi.json says the same.
        docs_url=None,
        redoc_url=None,
    )
    app.include_router(router)
    app.openapi = functools.partial(openapi, app)  # type: ignore[method-assign]  # as FastAPI wants
    app.add_exception_handler(FreesoloError, _answer_error)
    app.add_exception_handler(HTTPException, _answer_no_route)
    app.add_exception_handler(Exception, _answer_fault)
    return app


@asynccontextmanager
async def _lifespan(
    settings: ServingSettings, process: ProcessFactory, app: FastAPI
) -> AsyncIterator[None]:
    await asyncio.to_thread(stop_leftovers, settings)
    async with AsyncExitStack() as stack:
        hub = Hub(settings.hub_url, settings.api_key.get_secret_value())
        stack.push_async_callback(hub.close)
        usage = UsageLog(settings.data_dir / "usage", hub)
        # When the engines have ended too: this gateway may never be started again.
        stack.push_async_callback(usage.hand_over)
        engines = Engines(settings, process)
        stack.push_async_callback(engines.close)
        adapters = AdapterStore(
            settings.data_dir / "adapters",
            hub,
            room=round(settings.adapter_disk_gib * 2**30),
            in_use=engines.adapter_folders,
        )
        fleet = Fleet(hub, own=engines if settings.own_engines else None, adapters=adapters)
        stack.push_async_callback(fleet.close)
        holds = Holds(hub)
        metrics = Metrics()
        completions = Completions(
            hub,
            fleet=fleet,
            usage=usage,
            holds=holds,
            settings=settings,
            metrics=metrics,
        )
        reconciliation = Reconciliation(engines.all, hub, usage)
        metrics.watch(
            engines.all,
            in_flight=completions.in_flight,
            unaccounted=reconciliation.unaccounted,
        )
        app.state.settings = settings
        app.state.hub = hub
        app.state.completions = completions
        app.state.metrics = metrics
        deployer = Deployer(hub, adapters, fleet)
        for loop in (
            fleet.look_forever,
            fleet.renew_forever,
            deployer.run_forever,
            usage.deliver_forever,
            holds.renew_forever,
            reconciliation.compare_forever,
        ):
            await stack.enter_async_context(running(loop))
        stack.push_async_callback(completions.close)
        yield


async def _answer_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, FreesoloError)  # noqa: S101  registered for this class
    status = http_status(error)
    logger.info(
        "request refused",
        extra={"path": request.url.path, "status": status, "code": error.code},
    )
    wait = error.retry_after or (_RETRY_SECONDS if status in _PASSING else None)
    headers: dict[str, str] = {"Retry-After": str(math.ceil(wait))} if wait else {}
    headers |= getattr(request.state, "rate_headers", {})
    return JSONResponse(error_body(error), status_code=status, headers=headers)


async def _answer_no_route(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101  registered for this class
    missing = NotFound(f"There is no {request.method} {request.url.path} here.")
    return JSONResponse(error_body(missing), status_code=error.status_code)


async def _answer_fault(_: Request, error: Exception) -> JSONResponse:
    incident = uuid.uuid4().hex
    logger.error("fault in the gateway", exc_info=error, extra={"incident": incident})
    return JSONResponse(
        error_body(Internal(f"The gateway failed; its log has the details under {incident}.")),
        status_code=Internal.http_status,
    )
