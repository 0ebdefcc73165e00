"""Whether the process lives, and whether it can do its work. The only routes without a key."""

import tempfile

from fastapi import APIRouter
from pydantic import BaseModel
from sqlalchemy import select

from hub_server.dependencies import Blobs, DbReader
from hub_server.models import Org

router = APIRouter(tags=["health"])


class Health(BaseModel):
    """The answer of both routes."""

    status: str = "ok"


@router.get("/healthz")
async def healthz() -> Health:
    """Say that the process answers."""
    return Health()


@router.get("/readyz")
def readyz(session: DbReader, blobs: Blobs) -> Health:
    """Say that the database answers, with its tables, and that the storage takes writes."""
    session.scalars(select(Org.id).limit(1)).first()
    with tempfile.TemporaryFile(dir=blobs.staging) as file:
        file.write(b"ready")
    return Health()
