"""Archives that arrive piece by piece, and how they are put together again.

A piece is stored before the row says that it is here. So the pieces may overlap, where one was sent
twice and cut otherwise, but together they always cover what the row says.
"""

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import BinaryIO

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from freesolo.domain.refs import EnvRef, normalized_name
from freesolo.errors import (
    BlobNotFound,
    EnvironmentNotFound,
    FreesoloError,
    InvalidInput,
    LimitExceeded,
    StorageUnavailable,
    Unavailable,
    UploadNotFound,
    UploadOffsetMoved,
)
from freesolo.schemas.checks import CheckReport
from freesolo.schemas.environments import PublishedVersion
from freesolo.schemas.uploads import NewUpload
from hub_server.accounts.service import Member
from hub_server.blobs import BlobStore, Part
from hub_server.environments.service import canonical_version
from hub_server.identifiers import new_id
from hub_server.models import Org, Upload, UploadState
from hub_server.publishing import service
from hub_server.publishing.service import Press, Received, Submission

_LIFETIME = timedelta(days=1)
# Of one key. Until they are published, their pieces count for no quota.
_MOST_OPEN = 32
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Opened:
    """An upload as it stands, and whether it was opened just now."""

    upload: Upload
    created: bool


def begin(session: Session, member: Member, new: NewUpload, *, now: datetime) -> Opened:
    """Open an upload, or return the one that this key opened for the same archive before.

    Raise as a publish would if the member may not publish under this name, and `LimitExceeded` if
    the key has too many open.
    """
    ref = EnvRef(new.org, new.name)
    service.check_may_publish(session, member, ref)
    row = {
        "org_id": _org_id(session, ref),
        "key_id": member.key_id,
        "name": new.name,
        "version": canonical_version(new.version),
        "stage": new.stage,
        "tree_digest": new.tree_digest,
        "archive_digest": new.archive_digest,
        "size": new.size,
    }
    still_open = select(Upload).where(
        Upload.key_id == member.key_id,
        Upload.state == UploadState.OPEN,
        Upload.expires_at > now,
    )
    known = session.scalars(still_open.filter_by(**row).order_by(Upload.offset.desc())).first()
    if known is not None:
        return Opened(known, created=False)
    count = session.scalar(select(func.count()).select_from(still_open.subquery())) or 0
    if count >= _MOST_OPEN:
        raise LimitExceeded(
            f"The key {member.key_name!r} has {count} uploads open, and may have no more.",
            hint="Publish one of those to its end; they are given up after a day.",
        )
    upload = Upload(
        **row,
        id=new_id("upload"),
        state=UploadState.OPEN,
        offset=0,
        created_at=now,
        expires_at=now + _LIFETIME,
    )
    session.add(upload)
    return Opened(upload, created=True)


def find(session: Session, member: Member, upload_id: str, *, now: datetime) -> Upload:
    """Return an upload of this key; those of others do not exist."""
    upload = session.get(Upload, upload_id)
    if upload is None or upload.key_id != member.key_id or upload.expires_at <= now:
        raise _not_found(upload_id)
    return upload


def check_offset(upload: Upload, offset: int) -> None:
    """Raise `UploadOffsetMoved` unless the next piece begins at `offset`."""
    if upload.offset != offset:
        raise UploadOffsetMoved(
            f"The upload {upload.id} goes on at {upload.offset}, not at {offset}.",
            hint="Ask for the offset with HEAD, and send on from there.",
        )


def append(session: Session, upload_id: str, piece: Part) -> int:
    """Record a piece that is stored; return where the next one begins."""
    # Another request may be sending the same piece, or have ended the upload.
    upload = session.get(Upload, upload_id, with_for_update=True)
    if upload is None:
        raise _not_found(upload_id)
    check_offset(upload, piece.offset)
    upload.offset += piece.size
    return upload.offset


def finalize(
    press: Press, member: Member, upload_id: str, checks: CheckReport | None, *, now: datetime
) -> PublishedVersion:
    """Publish an upload that is complete, exactly as if it had come in one piece with `checks`.

    It can be repeated: the second time the version is `unchanged`. What is refused is forgotten.
    """
    with press.sessions() as session:
        upload = find(session, member, upload_id, now=now)
        check_offset(upload, upload.size)
        submission = _submission(session, member, upload, checks)
    with _assembled(press.blobs, upload) as received:
        if received.digest != upload.archive_digest:
            _start_over(press, upload, received.digest)
        with _forgotten_if_refused(press, upload):
            published = service.publish(press, submission, received, now=now)
    with press.sessions.begin() as session:
        finished = update(Upload).where(Upload.id == upload.id)
        session.execute(finished.values(state=UploadState.FINISHED))
    press.blobs.delete_parts(upload.id)
    return published


@contextmanager
def _forgotten_if_refused(press: Press, upload: Upload) -> Iterator[None]:
    """Forget an upload that cannot be published, however often that is tried."""
    try:
        yield
    except FreesoloError as error:
        if not isinstance(error, Unavailable):
            with press.sessions.begin() as session:
                session.execute(delete(Upload).where(Upload.id == upload.id))
            press.blobs.delete_parts(upload.id)
        raise


def _not_found(upload_id: str) -> UploadNotFound:
    return UploadNotFound(
        f"This key has no upload {upload_id!r}.",
        hint="An upload that was refused, or is a day old, is gone; `freesolo publish` begins anew.",
    )


def _org_id(session: Session, ref: EnvRef) -> object:
    org_id = session.scalar(select(Org.id).where(Org.name_key == normalized_name(ref.org)))
    if org_id is None:
        raise EnvironmentNotFound(f"There is no environment {ref.full_name!r}.")
    return org_id


def _submission(
    session: Session, member: Member, upload: Upload, checks: CheckReport | None
) -> Submission:
    org = session.get_one(Org, upload.org_id)
    return Submission(
        member,
        EnvRef(org.slug, upload.name),
        upload.version,
        upload.stage,
        upload.tree_digest,
        checks,
    )


@contextmanager
def _assembled(blobs: BlobStore, upload: Upload) -> Iterator[Received]:
    """Put the archive together on the local disk, and remove it unless somebody moved it."""
    with tempfile.NamedTemporaryFile(dir=blobs.staging, delete=False) as file:
        path = Path(file.name)
        try:
            digest = hashlib.sha256()
            for block in _content(blobs, upload):
                digest.update(block)
                file.write(block)
            file.flush()
            yield Received(path, f"sha256:{digest.hexdigest()}")
        finally:
            path.unlink(missing_ok=True)


def _content(blobs: BlobStore, upload: Upload) -> Iterator[bytes]:
    pieces = blobs.parts(upload.id)
    if upload.state is UploadState.FINISHED or not pieces:
        # Published before, and the pieces are gone.
        with blobs.open(upload.archive_digest) as file:
            yield from _blocks(file)
        return
    for piece, skip in covering(pieces, upload.size):
        try:
            with blobs.open_part(upload.id, piece) as file:
                file.seek(skip)
                yield from _blocks(file)
        except BlobNotFound:
            raise StorageUnavailable(
                f"Another request has just ended the upload {upload.id}.",
                hint="Ask again; what it published is then `unchanged`.",
                retry_after=1.0,
            ) from None


def covering(pieces: list[Part], size: int) -> list[tuple[Part, int]]:
    """Choose pieces that make up `size` bytes, each with how many of its first bytes to skip.

    Raise `StorageUnavailable` if there is a gap.
    """
    chosen = []
    position = 0
    while position < size:
        reaching = [piece for piece in pieces if piece.offset <= position]
        piece = max(reaching, key=lambda one: one.offset + one.size, default=Part(0, 0))
        end = piece.offset + piece.size
        if end <= position:
            raise StorageUnavailable(
                f"The hub's store has lost the bytes of an upload from {position} on.",
                hint="Publish again later; what is missing is then sent anew.",
            )
        chosen.append((piece, position - piece.offset))
        position = end
    return chosen


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    while block := file.read(_BLOCK):
        yield block


def _start_over(press: Press, upload: Upload, digest: str) -> None:
    """Forget the pieces of an upload that are not the archive that was announced, and say so."""
    with press.sessions.begin() as session:
        session.execute(update(Upload).where(Upload.id == upload.id).values(offset=0))
    press.blobs.delete_parts(upload.id)
    raise InvalidInput(
        f"The pieces make {digest}, but {upload.archive_digest} was announced.",
        hint="They were damaged on the way, or are of another archive; publish again.",
    )
