"""Garbage collection: blobs that nothing needs, uploads that were given up, their pieces."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.orm import Session, sessionmaker

from hub_server.blobs import BlobStore
from hub_server.db import insert_if_absent
from hub_server.models import Blob, Upload, UploadState
from hub_server.storage import service as storage


@dataclass(frozen=True)
class Garbage:
    """What was removed, or would be."""

    blobs: tuple[str, ...]
    bytes: int
    uploads: tuple[str, ...]


def find_garbage(session: Session, blobs: BlobStore, *, now: datetime) -> Garbage:
    """Return what `collect` would remove now, but for what no row speaks of yet."""
    sizes = storage.unneeded(session, now=now)
    return Garbage(tuple(sizes), sum(sizes.values()), _given_up(session, blobs, now=now))


def collect(sessions: sessionmaker[Session], blobs: BlobStore, *, now: datetime) -> Garbage:
    """Remove what nobody needs; return what went.

    Safe beside publishes and other collectors: each blob goes in a transaction of its own, which
    locks the blob's row and then looks again.
    """
    _adopt(sessions, blobs, now=now)
    with sessions.begin() as session:
        session.execute(delete(Upload).where(Upload.expires_at <= now))
    with sessions() as session:
        garbage = find_garbage(session, blobs, now=now)
    for upload_id in garbage.uploads:
        blobs.delete_parts(upload_id)
    removed: dict[str, int] = {}
    for digest in garbage.blobs:
        with sessions.begin() as session:
            size = storage.remove(session, blobs, digest, now=now)
        if size is not None:
            removed[digest] = size
    return Garbage(tuple(removed), sum(removed.values()), garbage.uploads)


def _adopt(sessions: sessionmaker[Session], blobs: BlobStore, *, now: datetime) -> None:
    """Give a row to bytes that have none, as after a restored database: a day later they may go."""
    rows = [
        {"digest": entry.digest, "size": entry.size, "last_seen_at": now} for entry in blobs.blobs()
    ]
    with sessions.begin() as session:
        known = set(session.scalars(select(Blob.digest)))
        insert_if_absent(session, Blob, [row for row in rows if row["digest"] not in known])


def _given_up(session: Session, blobs: BlobStore, *, now: datetime) -> tuple[str, ...]:
    """Return the uploads that have pieces in the store, but no row that still waits for more."""
    # The store first: an upload has its row before its first piece.
    found = blobs.uploads()
    waiting = select(Upload.id).where(Upload.state == UploadState.OPEN, Upload.expires_at > now)
    return tuple(sorted(found - set(session.scalars(waiting))))
