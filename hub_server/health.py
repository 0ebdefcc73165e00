"""Whether the process lives, and whether it can do its work. The only routes without a key."""

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel
from sqlalchemy import select

from freesolo.errors import StorageUnavailable
from hub_server.dependencies import Blobs, DbReader
from hub_server.models import Org

router = APIRouter(tags=["health"])


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
