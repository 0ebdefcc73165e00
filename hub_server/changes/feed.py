"""The feed as somebody may read it: in full what they may see, of the rest the bare hashes."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload

from freesolo.domain.feed import Head, Link
from freesolo.domain.roles import EnvironmentRole, may
from freesolo.schemas.changes import ChangeKind
from hub_server.accounts.service import Member
from hub_server.changes.service import feed_head
from hub_server.environments import service as environments
from hub_server.models import Change, Environment

# Everything else is for whoever may read the environment.
_NEEDED = {
    ChangeKind.VERSION_STAGED: EnvironmentRole.WRITER,
    ChangeKind.VERSION_DISCARDED: EnvironmentRole.WRITER,
    ChangeKind.ACCESS_GRANTED: EnvironmentRole.ADMIN,
    ChangeKind.ACCESS_REVOKED: EnvironmentRole.ADMIN,
    ChangeKind.TRANSFER_OFFERED: EnvironmentRole.ADMIN,
    ChangeKind.TRANSFER_DECLINED: EnvironmentRole.ADMIN,
}


@dataclass(frozen=True)
class Page:
    """Some links of the feed, and where it ends."""

    links: Sequence[Link]
    head: Head


def read(session: Session, visitor: Member | None, *, since: int, limit: int) -> Page:
    """Return what followed change number `since`, the oldest first.

    An entry is shown by what the visitor may read now, also if the environment is deleted: those
    who follow the feed must hear of that.
    """
    head = feed_head(session)
    changes = session.scalars(
        select(Change)
        # The head was read first: what came since then would not fit to it.
        .where(Change.serial > since, Change.serial <= head.serial)
        .order_by(Change.serial)
        .limit(limit)
    ).all()
    readable = _readable(session, visitor, changes)
    links = [
        _link(change, shown=_may_see(session, visitor, change, readable)) for change in changes
    ]
    return Page(links, head)


def _readable(
    session: Session, visitor: Member | None, changes: Sequence[Change]
) -> dict[UUID, Environment]:
    found = session.scalars(
        select(Environment)
        .join(Environment.org)
        .options(joinedload(Environment.org))
        .where(environments.readable(visitor))
        .where(Environment.id.in_({change.environment_id for change in changes}))
    )
    return {environment.id: environment for environment in found}


def _may_see(
    session: Session,
    visitor: Member | None,
    change: Change,
    readable: dict[UUID, Environment],
) -> bool:
    environment = readable.get(change.environment_id)
    if environment is None:
        return False
    needed = _NEEDED.get(ChangeKind(str(change.entry["kind"])))
    return needed is None or may(environments.role_in(session, visitor, environment), needed)


def _link(change: Change, *, shown: bool) -> Link:
    return Link(
        serial=change.serial,
        entry_hash=change.entry_hash,
        hash=change.hash,
        entry=change.entry if shown else None,
        nonce=change.nonce if shown else None,
    )
