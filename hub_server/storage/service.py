"""Which bytes are kept: what is about to be stored, what something refers to, what nobody needs.

A blob's row is written before its bytes, with the moment it was last asked for, and its bytes
before whatever refers to them. Whoever removes a blob first locks its row and then looks again, so
that a publish either finds the bytes still there or comes after they and the row are gone.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import JSON, ColumnElement, and_, exists, or_, select, type_coerce
from sqlalchemy.orm import InstrumentedAttribute, Session, sessionmaker

from freesolo.errors import BlobNotFound
from freesolo.schemas.adapters import PinnedAdapter
from freesolo.schemas.base import Artifact
from hub_server.blobs import BlobStore
from hub_server.db import insert_or_update
from hub_server.models import (
    Blob,
    Checkpoint,
    Environment,
    EnvironmentVersion,
    Org,
    Run,
    Upload,
    UploadState,
)

# How long bytes may wait for whatever will refer to them.
GRACE = timedelta(days=1)


@dataclass(frozen=True)
class Reference:
    """Something that needs a blob: what it is for, and what the blob must be.

    `tree_digest` is that of an archive, None for other bytes.
    """

    what: str
    digest: str
    size: int
    tree_digest: str | None = None


def keep(
    sessions: sessionmaker[Session], blobs: BlobStore, files: Mapping[str, Path], *, now: datetime
) -> None:
    """Take over files, by the digests of their bytes; whoever needs those has a day to say so."""
    # A transaction of its own: none is open while bytes are stored.
    with sessions.begin() as session:
        # In one order, so that two who keep the same files do not wait for each other.
        for digest, file in sorted(files.items()):
            row = {"digest": digest, "size": file.stat().st_size, "last_seen_at": now}
            insert_or_update(session, Blob, row, key="digest")
    for digest, file in files.items():
        blobs.put(digest, file)


def require(session: Session, blobs: BlobStore, digests: Collection[str], *, now: datetime) -> None:
    """Raise `BlobNotFound` unless the bytes are stored, and will be when this transaction ends."""
    # In one order, as `keep` has it.
    for digest in sorted(digests):
        blob = session.get(Blob, digest, with_for_update=True)
        if blob is None:
            raise BlobNotFound(f"No bytes with the digest {digest} are stored here.")
        blobs.size(digest)
        blob.last_seen_at = now


def references(session: Session) -> Iterator[Reference]:
    """Yield everything that needs a blob. A deleted version needs none."""
    versions = (
        select(EnvironmentVersion, Environment.name, Org.slug)
        .join(Environment, EnvironmentVersion.environment_id == Environment.id)
        .join(Org, Environment.org_id == Org.id)
        .where(EnvironmentVersion.deleted_at.is_(None))
        .order_by(Org.slug, Environment.name, EnvironmentVersion.published_at)
    )
    for version, name, org in session.execute(versions.execution_options(yield_per=1000)):
        ref = f"{org}/{name} {version.version}"
        yield Reference(
            f"archive of {ref}", version.archive_digest, version.size, version.tree_digest
        )
        yield Reference(f"wheel of {ref}", version.wheel_digest, version.wheel_size)
    for point in session.scalars(select(Checkpoint).execution_options(yield_per=1000)):
        kept = (("adapter", point.adapter if point.adapter_kept else None), ("state", point.state))
        for kind, saved in kept:
            if saved is None:
                continue
            yield Reference(
                f"{kind} of {point.run_id} after step {point.step}",
                saved.archive_digest,
                saved.size,
                saved.tree_digest,
            )
    yield from _adapters_built_on(session)


def _adapters_built_on(session: Session) -> Iterator[Reference]:
    """Yield the adapters that runs began from or were taught by, which another attempt needs too."""
    for kind, column in (("warm start", Run.warm_start), ("teacher", Run.teacher_adapter)):
        pinned = select(Run.id, column).where(column.is_not(None))
        for run_id, adapter in session.execute(pinned.execution_options(yield_per=1000)):
            if adapter is not None:
                what = f"{kind} of {run_id}"
                yield Reference(what, adapter.archive_digest, adapter.size, adapter.tree_digest)


def unneeded(session: Session, *, now: datetime) -> dict[str, int]:
    """Return the sizes of blobs that nobody asked for within a day and that nothing needs."""
    old = select(Blob.digest, Blob.size).where(Blob.last_seen_at < now - GRACE)
    sizes = {row.digest: row.size for row in session.execute(old.order_by(Blob.digest))}
    if sizes:
        for reference in references(session):
            sizes.pop(reference.digest, None)
    return sizes


def remove(session: Session, blobs: BlobStore, digest: str, *, now: datetime) -> int | None:
    """Remove a blob with its row and return its size, or None if somebody needs it by now."""
    blob = session.get(Blob, digest, with_for_update=True)
    if blob is None or blob.last_seen_at >= now - GRACE or _is_needed(session, digest):
        return None
    # Under the row's lock: whoever wants to store the same bytes waits, and then stores them anew.
    blobs.delete(digest)
    session.delete(blob)
    return blob.size


def _is_needed(session: Session, digest: str) -> bool:
    version = exists().where(
        or_(EnvironmentVersion.archive_digest == digest, EnvironmentVersion.wheel_digest == digest),
        EnvironmentVersion.deleted_at.is_(None),
    )
    upload = exists().where(Upload.archive_digest == digest, Upload.state == UploadState.OPEN)
    saved = exists().where(
        or_(
            and_(_archive_digest(Checkpoint.adapter) == digest, Checkpoint.adapter_kept),
            _archive_digest(Checkpoint.state) == digest,
        )
    )
    built_on = exists().where(
        or_(
            _archive_digest(Run.warm_start) == digest,
            _archive_digest(Run.teacher_adapter) == digest,
        )
    )
    return bool(session.scalar(select(or_(version, upload, saved, built_on))))


def _archive_digest(
    column: InstrumentedAttribute[Artifact]
    | InstrumentedAttribute[Artifact | None]
    | InstrumentedAttribute[PinnedAdapter | None],
) -> ColumnElement[str]:
    digest: ColumnElement[str] = type_coerce(column, JSON)["archive_digest"].as_string()
    return digest
