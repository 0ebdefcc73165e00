"""Blobs as response bodies."""

from collections.abc import Iterator
from typing import BinaryIO

from fastapi.responses import StreamingResponse

from hub_server.blobs import BlobStore

_CHUNK = 1 << 20


def blob_response(blobs: BlobStore, digest: str) -> StreamingResponse:
    """Stream the bytes with this digest; raise `BlobNotFound` before anything is sent."""
    file = blobs.open(digest)
    size = file.seek(0, 2)
    file.seek(0)
    return StreamingResponse(
        _chunks(file),
        media_type="application/octet-stream",
        headers={
            "Content-Length": str(size),
            "ETag": f'"{digest}"',
            # What a digest names never changes, but only key holders may see it.
            "Cache-Control": "private, max-age=31536000, immutable",
        },
    )


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    with file:
        while chunk := file.read(_CHUNK):
            yield chunk
