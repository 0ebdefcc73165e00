"""The hub's composition root: everything is made here and handed to the rest."""

import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime

from fastapi import FastAPI
from sqlalchemy.exc import SQLAlchemyError

from freesolo.domain.catalog import BUILT_IN, Catalog, parse_catalog, with_models
from freesolo.errors import InvalidInput
from hub_server import failures, health
from hub_server.accounts import routes as accounts
from hub_server.blobs import FileBlobStore
from hub_server.db import create_database, create_readers, create_sessions
from hub_server.dependencies import Resources
from hub_server.deployments import routes as deployments
from hub_server.environments import routes as environments
from hub_server.gateway import routes as gateway
from hub_server.gateway import service as gateway_service
from hub_server.leases import routes as leases
from hub_server.leases import service as leases_service
from hub_server.middleware import BodyLimit, RequestLog
from hub_server.runs import routes as runs
from hub_server.settings import HubSettings
from hub_server.storage import routes as storage

logger = logging.getLogger(__name__)


def utc_now() -> datetime:
    """Return this moment."""
    return datetime.now(UTC)


def create_app(settings: HubSettings, *, clock: Callable[[], datetime] = utc_now) -> FastAPI:
    """Build the hub. Nothing is opened or written before the application starts."""
    engine = create_database(settings.database)
    resources = Resources(
        settings=settings,
        sessions=create_sessions(engine),
        readers=create_readers(engine),
        blobs=FileBlobStore(settings.data_dir / "blobs"),
        catalog=load_catalog(settings),
        clock=clock,
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        resources.blobs.prepare()
        with _reaper(resources):
            yield
        engine.dispose()

    app = FastAPI(
        title="Freesolo hub",
        version="1",
        lifespan=lifespan,
        # The pages load scripts from a foreign host; docs/openapi.json is the reference.
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
    )
    app.state.resources = resources
    app.add_middleware(BodyLimit)
    app.add_middleware(RequestLog)
    failures.install(app)
    for part in (accounts, environments, runs, leases, deployments, gateway, storage, health):
        app.include_router(part.router)
    return app


def load_catalog(settings: HubSettings) -> Catalog:
    """Return the built-in base models with those of the settings' catalog file."""
    if settings.catalog is None:
        return BUILT_IN
    try:
        text = settings.catalog.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(
            f"The catalog file {settings.catalog} cannot be read: {error}.",
            hint="FREESOLO_SERVER_CATALOG names it.",
        ) from None
    return with_models(BUILT_IN, parse_catalog(text))


def take_back_lost(resources: Resources) -> None:
    """Give back all work whose worker or gateway fell silent."""
    with resources.sessions.begin() as session:
        runs_lost = leases_service.take_back_lost(session, now=resources.clock())
        deployments_lost = gateway_service.take_back_lost(session, now=resources.clock())
    if runs_lost or deployments_lost:
        logger.warning("leases lost", extra={"runs": runs_lost, "deployments": deployments_lost})


@contextmanager
def _reaper(resources: Resources) -> Iterator[None]:
    """Take lost work back, a few times in the length of a lease, while the block runs."""
    stopping = threading.Event()

    def watch() -> None:
        while not stopping.wait(resources.settings.lease_seconds / 3):
            try:
                take_back_lost(resources)
            except SQLAlchemyError:
                logger.exception("lost leases could not be taken back")

    thread = threading.Thread(target=watch, name="reaper", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()
