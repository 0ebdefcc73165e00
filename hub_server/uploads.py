"""Request bodies that are too large for memory: hashed, counted and spooled as they arrive."""

import base64
import binascii
import hashlib
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio.to_thread
from fastapi import Request
from fastapi.routing import APIRoute
from starlette.types import Scope

from freesolo.errors import InvalidInput, PayloadTooLarge

# Network chunks are gathered to this many bytes before a thread writes them.
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Upload:
    """A body on local disk. Whoever keeps it moves the file; otherwise it goes with the request."""

    path: Path
    digest: str
    size: int


def is_read_whole(scope: Scope) -> bool:
    """Say whether the framework reads the body of a request that was routed, and keeps it in memory.

    It does where the route declares what is in it; everything else is received by `spooled`, or by
    nobody.
    """
    route = scope.get("route")
    return isinstance(route, APIRoute) and route.body_field is not None


@asynccontextmanager
async def spooled(request: Request, folder: Path, *, limit: int) -> AsyncIterator[Upload]:
    """Receive a request's body into a file of `folder`, at most `limit` bytes of it."""
    _refuse_announced(request, limit)
    # Beside the other blobs on their way in, and removed here unless somebody moved it.
    with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
        path = Path(file.name)
        try:
            digest = hashlib.sha256()
            size = 0
            async for block in _blocks(request):
                size += len(block)
                if size > limit:
                    raise _too_large(limit)
                await anyio.to_thread.run_sync(_absorb, file.write, digest.update, block)
            await anyio.to_thread.run_sync(file.flush)
            yield Upload(path, f"sha256:{digest.hexdigest()}", size)
        finally:
            await anyio.to_thread.run_sync(_discard, path)


def content_digest(header: str) -> str:
    """Read the SHA-256 of a `Content-Digest` header (RFC 9530) as `sha256:<hex>`."""
    for member in header.split(","):
        algorithm, _, value = member.strip().partition("=")
        if algorithm == "sha-256" and value.startswith(":") and value.endswith(":"):
            try:
                raw = base64.b64decode(value.strip(":"), validate=True)
            except binascii.Error:
                break
            if len(raw) == hashlib.sha256().digest_size:
                return f"sha256:{raw.hex()}"
    raise InvalidInput(
        f"Content-Digest {header!r} holds no SHA-256.",
        hint="Send `Content-Digest: sha-256=:<base64 of the digest>:`.",
    )


def check_digest(upload: Upload, expected: str) -> None:
    """Raise `InvalidInput` unless the body arrived as it was announced."""
    if upload.digest != expected:
        raise InvalidInput(
            f"The body has the digest {upload.digest}, but {expected} was announced.",
            hint="It was damaged on the way; send it again.",
        )


async def _blocks(request: Request) -> AsyncIterator[bytes]:
    gathered = bytearray()
    async for chunk in request.stream():
        gathered += chunk
        if len(gathered) >= _BLOCK:
            yield bytes(gathered)
            gathered.clear()
    yield bytes(gathered)


def _absorb(write: Callable[[bytes], int], update: Callable[[bytes], None], block: bytes) -> None:
    write(block)
    update(block)


def _discard(path: Path) -> None:
    path.unlink(missing_ok=True)


def _refuse_announced(request: Request, limit: int) -> None:
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > limit:
        raise _too_large(limit)


def _too_large(limit: int) -> PayloadTooLarge:
    return PayloadTooLarge(f"The body is larger than the {limit} bytes that are accepted here.")
