"""The audit: one event for each change that somebody makes, in the transaction that makes it."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from pydantic import JsonValue
from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.orm import InstrumentedAttribute, Session, joinedload

from freesolo.domain.roles import Role
from freesolo.logs import request_id
from hub_server.accounts.service import Member
from hub_server.models import AuditEvent
from hub_server.paging import decode_cursor, encode_cursor, not_a_cursor

# What a database can hold as a number.
_EVENT_ID = re.compile(r"[0-9]{1,18}")


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


@dataclass(frozen=True)
class Wanted:
    """Which events are asked for; None is all.

    `action` may be a whole family (`key`), `target` an environment with all its versions.
    """

    action: str | None = None
    actor: str | None = None
    target: str | None = None


def list_events(
    session: Session, by: Member, wanted: Wanted, *, cursor: str | None, limit: int
) -> tuple[Sequence[AuditEvent], str | None]:
    """Return a page of what was done in the member's org, the newest first, and the next cursor."""
    by.require_role(Role.ADMIN)
    by.require_unconfined("the audit tells of every environment")
    query = select(AuditEvent).where(AuditEvent.org_id == by.org_id, *_conditions(wanted))
    if cursor is not None:
        query = query.where(AuditEvent.id < _read_cursor(cursor))
    newest_first = query.options(joinedload(AuditEvent.key)).order_by(AuditEvent.id.desc())
    found = session.scalars(newest_first.limit(limit + 1)).all()
    page = found[:limit]
    return page, None if len(found) <= limit else encode_cursor(str(page[-1].id))


def _conditions(wanted: Wanted) -> Iterator[ColumnElement[bool]]:
    if wanted.action is not None:
        yield _is_or_begins(AuditEvent.action, wanted.action, ".")
    if wanted.actor is not None:
        yield AuditEvent.actor == wanted.actor
    if wanted.target is not None:
        yield _is_or_begins(AuditEvent.target, wanted.target, "@")


def _is_or_begins(
    column: InstrumentedAttribute[str], text: str, separator: str
) -> ColumnElement[bool]:
    return or_(column == text, column.startswith(f"{text}{separator}", autoescape=True))


def _read_cursor(cursor: str) -> int:
    (event_id,) = decode_cursor(cursor, parts=1)
    if not _EVENT_ID.fullmatch(event_id):
        raise not_a_cursor(cursor)
    return int(event_id)
