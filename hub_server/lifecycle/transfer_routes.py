"""Environments that were offered to another org, and wait there."""

from fastapi import APIRouter

from freesolo.schemas import environments as wire
from hub_server.dependencies import DbReader, EnvironmentAdmin, Limit
from hub_server.lifecycle import moves

router = APIRouter(prefix="/v1/transfers", tags=["lifecycle"])


@router.get("")
def list_transfers(
    member: EnvironmentAdmin, session: DbReader, cursor: str | None = None, limit: Limit = 50
) -> wire.TransferList:
    """List what is offered to the orgs that you are admin of, by name."""
    return moves.offered_to(session, member, cursor=cursor, limit=limit)
