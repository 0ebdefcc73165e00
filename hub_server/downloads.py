"""Blobs as response bodies."""

import base64
from collections.abc import Iterator
from os import stat_result
from pathlib import Path
from typing import BinaryIO

from fastapi.responses import FileResponse, RedirectResponse, Response, StreamingResponse
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from hub_server.blobs import BlobStore
from hub_server.blobs.store import BYTES, FOR_EVER, not_stored

_CHUNK = 4 << 20
# Bytes of a file that is read whole; forty threads may do so at once.
_AT_ONCE = 2 << 20


def blob_response(blobs: BlobStore, digest: str, *, filename: str | None = None) -> Response:
    """Answer with the bytes of this digest; raise `BlobNotFound` before anything is sent.

    From a disk the file itself is sent, whole or in ranges; a store with addresses of its own is
    where the client is sent to; all else is passed on as it comes.
    """
    if (path := blobs.local_path(digest)) is not None:
        return _BlobFile(digest, path, filename=filename)
    size = blobs.size(digest)
    if (address := blobs.link(digest, filename=filename)) is not None:
        # The address expires, so the way to it must not be remembered.
        return RedirectResponse(address, 302, headers={"Cache-Control": "no-store"})
    headers = {
        **_describe(digest),
        "Content-Digest": _digest_header(digest),
        "Content-Length": str(size),
    }
    if filename is not None:
        headers["Content-Disposition"] = f'attachment; filename="{filename}"'
    return StreamingResponse(_chunks(blobs.open(digest)), media_type=BYTES, headers=headers)


class _BlobFile(FileResponse):
    """A blob's file: few large reads, ranges, and nothing for whoever has it already."""

    chunk_size = _CHUNK

    def __init__(self, digest: str, path: Path, *, filename: str | None) -> None:
        found = _look(path, digest)
        super().__init__(
            path,
            headers=_describe(digest),
            media_type=BYTES,
            filename=filename,
            stat_result=found,
        )
        self._digest = digest
        self._path = path
        self._size = found.st_size

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = Headers(scope=scope)
        if self.headers["etag"] in asked.get("if-none-match", ""):
            await Response(status_code=304, headers=_describe(self._digest))(scope, receive, send)
            return
        if "range" not in asked:
            # The digest of what is sent, which of a range nobody knows.
            self.headers["Content-Digest"] = _digest_header(self._digest)
            if self._size <= _AT_ONCE:
                await self._send_at_once(send)
                return
        await super().__call__(scope, receive, send)

    async def _send_at_once(self, send: Send) -> None:
        """Read the file in one go: opening, reading and closing it apart would each take a thread."""
        content = await run_in_threadpool(self._path.read_bytes)
        start = {"status": self.status_code, "headers": self.raw_headers}
        await send({"type": "http.response.start", **start})
        await send({"type": "http.response.body", "body": content})


def _look(path: Path, digest: str) -> stat_result:
    try:
        return path.stat()
    except FileNotFoundError:
        raise not_stored(digest) from None


def _describe(digest: str) -> dict[str, str]:
    return {
        "ETag": f'"{digest}"',
        "Cache-Control": FOR_EVER,
        "Repr-Digest": _digest_header(digest),
    }


def _digest_header(digest: str) -> str:
    raw = bytes.fromhex(digest.removeprefix("sha256:"))
    return f"sha-256=:{base64.b64encode(raw).decode()}:"


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    with file:
        while chunk := file.read(_CHUNK):
            yield chunk
