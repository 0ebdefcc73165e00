"""The hub's calls that publish: one request for a small archive, a resumable upload for a large one."""

import base64
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from freesolo.client.connection import HubConnection, path_part
from freesolo.client.transport import file_chunks, repeating
from freesolo.domain.packaging import ENVIRONMENT_LIMITS
from freesolo.domain.refs import EnvRef
from freesolo.errors import UploadOffsetMoved
from freesolo.package.archive import Archive, check_archive_size
from freesolo.schemas.checks import CHECKS_HEADER, CheckReport, VersionChecks
from freesolo.schemas.environments import PublishedVersion
from freesolo.schemas.uploads import (
    OFFSET_HEADER,
    PIECE_BYTES,
    RESUMABLE_BYTES,
    NewUpload,
    OpenUpload,
    UploadEnd,
)

# Of one piece, with waits of up to three seconds between them.
_ATTEMPTS = 8

# Called with how many bytes of the archive the hub has.
Sent = Callable[[int], None]


def _ignore(_: int) -> None:
    return None


class PublishingCalls(HubConnection):
    """What makes a version out of an archive."""

    def publish(
        self,
        ref: EnvRef,
        version: str,
        archive: Archive,
        *,
        stage: bool = False,
        checks: CheckReport | None = None,
        sent: Sent = _ignore,
    ) -> PublishedVersion:
        """Upload an archive as an immutable version; the same tree again is `unchanged`.

        With `stage` only writers see the version until it is promoted. `checks` are kept with it. A
        large archive goes on where an earlier call of the same was interrupted. Raise
        `PayloadTooLarge` for one that no hub takes.
        """
        check_archive_size(archive.size, ENVIRONMENT_LIMITS)
        if archive.size <= RESUMABLE_BYTES:
            return self._put(ref, version, archive, stage=stage, checks=checks, sent=sent)
        upload = self._open(
            NewUpload(
                org=ref.org,
                name=ref.name,
                version=version,
                tree_digest=archive.tree_digest,
                archive_digest=archive.archive_digest,
                size=archive.size,
                stage=stage,
            )
        )
        path = f"/v1/uploads/{path_part(upload.upload_id)}"
        with archive.path.open("rb") as file:
            offset = upload.offset
            sent(offset)
            while offset < archive.size:
                offset = repeating(_ATTEMPTS)(self._send_next, path, file)
                sent(offset)
        end = UploadEnd(checks=checks)
        published: PublishedVersion = repeating(_ATTEMPTS)(
            self._send, "POST", f"{path}/finalize", end, PublishedVersion
        )
        return published

    def checks(self, ref: EnvRef, version: str) -> VersionChecks:
        """Return what the publisher of a version sent of its `validate`."""
        path = f"/v1/envs/{ref.full_name}/versions/{path_part(version)}/checks"
        return self._get(VersionChecks, path)

    def _put(
        self,
        ref: EnvRef,
        version: str,
        archive: Archive,
        *,
        stage: bool,
        checks: CheckReport | None,
        sent: Sent,
    ) -> PublishedVersion:
        response = self._transport.request(
            "PUT",
            f"/v1/envs/{ref.full_name}/versions/{path_part(version)}",
            params={"stage": "true" if stage else None},
            upload=lambda: _counted(archive.path, sent),
            headers={
                "Content-Type": "application/zstd",
                "Content-Digest": _content_digest(archive.archive_digest),
                "X-Tree-Digest": archive.tree_digest,
                **({CHECKS_HEADER: checks.header_value()} if checks else {}),
            },
        )
        return self._read(PublishedVersion, response)

    def _open(self, upload: NewUpload) -> OpenUpload:
        # Safe to repeat: the open upload of the same archive is returned.
        opened: OpenUpload = repeating(_ATTEMPTS)(
            self._send, "POST", "/v1/uploads", upload, OpenUpload
        )
        return opened

    def _send_next(self, path: str, file: IO[bytes]) -> int:
        """Send the piece that the hub wants next, whatever it got of the last; return what it has."""
        offset = self._offset(path)
        file.seek(offset)
        piece = file.read(PIECE_BYTES)
        try:
            self._transport.request(
                "PATCH", path, headers={OFFSET_HEADER: str(offset)}, upload=lambda: [piece]
            )
        except UploadOffsetMoved:
            # The hub was still writing a piece whose answer was lost.
            return self._offset(path)
        return offset + len(piece)

    def _offset(self, path: str) -> int:
        return int(self._transport.request("HEAD", path).headers[OFFSET_HEADER])


def _counted(path: Path, sent: Sent) -> Iterator[bytes]:
    total = 0
    for chunk in file_chunks(path):
        yield chunk
        total += len(chunk)
        sent(total)


def _content_digest(digest: str) -> str:
    """Write `sha256:<hex>` as the header of RFC 9530 wants it."""
    raw = bytes.fromhex(digest.removeprefix("sha256:"))
    return f"sha-256=:{base64.b64encode(raw).decode()}:"
