"""The audit: one event for each change that somebody makes, in the transaction that makes it."""

from datetime import datetime
from uuid import UUID

from pydantic import JsonValue
from sqlalchemy.orm import Session

from freesolo.logs import request_id
from hub_server.accounts.service import Member
from hub_server.models import AuditEvent


def record(
    session: Session,
    by: Member,
    action: str,
    *,
    target: str,
    now: datetime,
    org_id: UUID | None = None,
    **data: JsonValue,
) -> None:
    """Write down that `by` did `action`, such as `key.revoked`, to `target`.

    It belongs to the org that `by` acts in, or to `org_id`. `data` says more; never a secret.
    """
    session.add(
        AuditEvent(
            org_id=org_id or by.org_id,
            key_id=by.key_id,
            actor=by.actor,
            action=action,
            target=target,
            data=data,
            request_id=request_id.get(),
            created_at=now,
        )
    )
