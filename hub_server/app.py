"""The hub's composition root: everything is made here and handed to the rest."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import cache

from fastapi import APIRouter, Depends, FastAPI
from starlette.routing import BaseRoute

from freesolo.domain.catalog import BUILT_IN, Catalog, parse_catalog, with_models
from freesolo.errors import InvalidInput
from freesolo.schemas.errors import ErrorAnswer
from hub_server import failures, health
from hub_server.access import routes as access
from hub_server.accounts import routes as accounts
from hub_server.accounts.service import KeyUses
from hub_server.answers import Answers, Recall
from hub_server.audit import routes as audit
from hub_server.base_models import routes as base_models
from hub_server.billing import routes as billing
from hub_server.blobs import open_blobs
from hub_server.changes import routes as changes
from hub_server.contents import routes as contents
from hub_server.db import create_database, create_readers, create_sessions
from hub_server.dependencies import Resources, require_characters
from hub_server.deployments import routes as deployments
from hub_server.encryption import Vault
from hub_server.environments import routes as environments
from hub_server.evaluations import routes as evaluations
from hub_server.gateway import routes as gateway
from hub_server.index import routes as index
from hub_server.leases import routes as leases
from hub_server.lifecycle import routes as lifecycle
from hub_server.lifecycle import transfer_routes as transfers
from hub_server.metrics import Metrics
from hub_server.middleware import BodyLimit, RequestLog
from hub_server.publishing import receipt_routes as receipts
from hub_server.publishing import routes as publishing
from hub_server.publishing import upload_routes as uploads
from hub_server.rates import RateLimits
from hub_server.replicas import routes as replicas
from hub_server.runs import routes as runs
from hub_server.search import routes as search
from hub_server.secrets import routes as secrets
from hub_server.settings import HubSettings
from hub_server.signing import Signer
from hub_server.storage import routes as storage
from hub_server.upkeep import upkeep
from hub_server.uses import routes as uses
from hub_server.uses.service import UseCounter
from hub_server.webhooks import routes as webhooks
from hub_server.webhooks.sender import delivering

_ERROR: dict[str, object] = {"model": ErrorAnswer, "description": "What went wrong"}


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
        blobs=open_blobs(settings),
        catalog=load_catalog(settings),
        clock=clock,
        key_uses=KeyUses(),
        uses=UseCounter(),
        signer=Signer(settings),
        vault=Vault(settings),
        answers=Answers(engine, clock=clock),
        metrics=Metrics(create_readers(engine)),
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        resources.blobs.prepare()
        resources.signer.prepare()
        resources.vault.prepare()
        with upkeep(resources), delivering(resources):
            yield
        resources.answers.close()
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
    # From the inside out.
    app.add_middleware(BodyLimit)
    app.add_middleware(Recall)
    app.add_middleware(RateLimits, settings=settings)
    failures.install(app)
    app.add_middleware(RequestLog, metrics=resources.metrics)
    app.router.routes.extend(_routes())
    return app


@cache
def _routes() -> list[BaseRoute]:
    """Return all that the hub answers: built once a process, for it takes longer than all else."""
    router = APIRouter(
        dependencies=[Depends(require_characters)], responses={"4XX": _ERROR, "5XX": _ERROR}
    )
    for part in (
        access,
        accounts,
        audit,
        environments,
        publishing,
        uses,
        lifecycle,
        transfers,
        uploads,
        contents,
        index,
        search,
        receipts,
        changes,
        webhooks,
        secrets,
        base_models,
        runs,
        leases,
        deployments,
        evaluations,
        gateway,
        billing,
        replicas,
        storage,
        health,
    ):
        router.include_router(part.router)
    return router.routes


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
