"""What was changed in an org, and by whom."""

from typing import Annotated

from fastapi import APIRouter, Query

from freesolo.schemas import audit as wire
from hub_server.audit import service
from hub_server.audit.service import Wanted
from hub_server.dependencies import DbReader, Limit, OrgReader
from hub_server.models import AuditEvent

router = APIRouter(prefix="/v1", tags=["audit"])


@router.get("/audit")
def list_events(  # noqa: PLR0913  each is one of FastAPI's inputs
    member: OrgReader,
    session: DbReader,
    cursor: str | None = None,
    action: Annotated[
        str | None, Query(description="One action, or a family of them such as `key`.")
    ] = None,
    actor: Annotated[str | None, Query(description="Who did it, as events name them.")] = None,
    target: Annotated[
        str | None, Query(description="What it was done to; `org/name` with all its versions.")
    ] = None,
    limit: Limit = 50,
) -> wire.AuditPage:
    """List what was done in the org, the newest first; for its admins."""
    page, next_cursor = service.list_events(
        session, member, Wanted(action, actor, target), cursor=cursor, limit=limit
    )
    return wire.AuditPage(events=[_entry(event) for event in page], next_cursor=next_cursor)


def _entry(event: AuditEvent) -> wire.AuditEntry:
    return wire.AuditEntry(
        id=event.id,
        at=event.created_at,
        actor=event.actor,
        key_prefix=event.key.prefix,
        action=event.action,
        target=event.target,
        data=event.data,
        request_id=event.request_id,
    )
