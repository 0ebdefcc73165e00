"""Whether the process lives, whether it can do its work, and what it counts. No route needs a key."""

from typing import Literal

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4
from pydantic import BaseModel
from sqlalchemy import select

from freesolo.errors import Forbidden, StorageUnavailable
from hub_server.dependencies import Blobs, DbReader, FromHub
from hub_server.models import Org

router = APIRouter(tags=["health"])

_LOOPBACK = frozenset({"127.0.0.1", "::1"})


class Health(BaseModel):
    """The answer of `/healthz`."""

    status: Literal["ok"] = "ok"


class Readiness(BaseModel):
    """The answer of `/readyz`: `degraded` while the store of bytes is away and all else works."""

    status: Literal["ok", "degraded"] = "ok"
    storage: Literal["ok", "unavailable"] = "ok"


@router.get("/healthz")
async def healthz() -> Health:
    """Say that the process answers."""
    return Health()


@router.get("/readyz")
def readyz(session: DbReader, blobs: Blobs) -> Readiness:
    """Say that the database answers, with its tables, and whether the storage takes writes."""
    session.scalars(select(Org.id).limit(1)).first()
    try:
        blobs.check()
    except StorageUnavailable:
        # What needs no bytes still works, and no other replica is better off.
        return Readiness(status="degraded", storage="unavailable")
    return Readiness()


@router.get("/metrics", response_class=Response)
def metrics(request: Request, resources: FromHub) -> Response:
    """Tell Prometheus what the hub counts: on this machine, and elsewhere if a setting says so."""
    here = request.client is not None and request.client.host in _LOOPBACK
    if not here and not resources.settings.metrics_public:
        raise Forbidden(
            "/metrics answers only on the hub's own machine.",
            hint="FREESOLO_SERVER_METRICS_PUBLIC=true opens it to a Prometheus elsewhere.",
        )
    return Response(resources.metrics.page(), media_type=CONTENT_TYPE_PLAIN_0_0_4)
