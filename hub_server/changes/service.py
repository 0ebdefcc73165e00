"""The feed: every change of an environment, numbered without a gap and chained by hashes."""

import secrets
from dataclasses import dataclass
from datetime import datetime

from pydantic import JsonValue
from sqlalchemy import select
from sqlalchemy.orm import Session

from freesolo.domain.feed import START, Head, chain_hash, entry_hash
from freesolo.schemas.changes import ChangeKind
from hub_server.accounts.service import Member
from hub_server.audit import service as audit
from hub_server.db import insert_if_absent
from hub_server.models import Change, Environment, EnvironmentVersion, FeedHead
from hub_server.search.documents import reindex
from hub_server.webhooks import outbox

_HEAD = 1


@dataclass(frozen=True)
class Announcement:
    """What happened to an environment, or to one of its versions; `data` says more."""

    kind: ChangeKind
    version: EnvironmentVersion | None = None
    data: dict[str, JsonValue] | None = None


def announce(
    session: Session,
    by: Member,
    environment: Environment,
    announcement: Announcement,
    *,
    now: datetime,
) -> Change:
    """Append a change to the feed, the audit and the webhooks' outbox; give the environment its serial.

    Whoever appends holds the end of the feed until their transaction ends, so call this last.
    `environment.org` must be loaded.
    """
    reindex(session, environment)
    head = _locked_head(session)
    ref = f"{environment.org.slug}/{environment.name}"
    entry = _entry(announcement, ref=ref, serial=head.serial + 1, now=now)
    nonce = secrets.token_hex(16)
    digest = entry_hash(entry, nonce)
    change = Change(
        serial=head.serial + 1,
        org_id=environment.org_id,
        environment_id=environment.id,
        entry=entry,
        nonce=nonce,
        entry_hash=digest,
        hash=chain_hash(head.hash, digest),
        created_at=now,
    )
    session.add(change)
    outbox.enqueue(session, change, ref=ref)
    head.serial, head.hash = change.serial, change.hash
    environment.serial = change.serial
    environment.updated_at = now
    version = announcement.version
    audit.record(
        session,
        by,
        announcement.kind.value,
        target=f"{ref}@{version.version}" if version else ref,
        now=now,
        org_id=environment.org_id,
        **(announcement.data or {}),
    )
    return change


def feed_head(session: Session) -> Head:
    """Return where the feed ends now."""
    head = session.get(FeedHead, _HEAD)
    return Head(head.serial, head.hash) if head else START


def _locked_head(session: Session) -> FeedHead:
    insert_if_absent(session, FeedHead, [{"id": _HEAD, "serial": START.serial, "hash": START.hash}])
    # Whoever waited for the lock reads what the one before it wrote, not what it read itself earlier.
    locked = select(FeedHead).where(FeedHead.id == _HEAD).with_for_update()
    return session.scalars(locked.execution_options(populate_existing=True)).one()


def _entry(
    announcement: Announcement, *, ref: str, serial: int, now: datetime
) -> dict[str, JsonValue]:
    version = announcement.version
    return {
        "serial": serial,
        "kind": announcement.kind.value,
        "ref": ref,
        "version": version.version if version else None,
        "tree_digest": version.tree_digest if version else None,
        "archive_digest": version.archive_digest if version else None,
        "at": now.isoformat(),
        "data": announcement.data or {},
    }
