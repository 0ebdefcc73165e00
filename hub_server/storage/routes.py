"""Blobs by digest, for the platform's own processes."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request
from fastapi.responses import Response

from freesolo.domain.packaging import ARTIFACT_LIMITS
from freesolo.schemas.deployments import StoredBlob
from hub_server.dependencies import Blobs, FromHub, Now, PlatformProcess, Worker
from hub_server.downloads import blob_response
from hub_server.storage import service
from hub_server.uploads import Upload, check_digest, spooled

router = APIRouter(prefix="/v1/blobs", tags=["storage"])

BlobDigest = Annotated[str, Path(pattern=r"^sha256:[0-9a-f]{64}$")]


async def _received(
    digest: BlobDigest, request: Request, worker: Worker, blobs: Blobs
) -> AsyncIterator[Upload]:
    async with spooled(request, blobs.staging, limit=ARTIFACT_LIMITS.max_archive_bytes) as upload:
        check_digest(upload, digest)
        yield upload


@router.put(
    "/{digest}",
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/octet-stream": {"schema": {"type": "string"}}},
        }
    },
)
def store_blob(
    upload: Annotated[Upload, Depends(_received, scope="function")], resources: FromHub, now: Now
) -> StoredBlob:
    """Store the body under its digest. Storing the same bytes again changes nothing."""
    service.keep(resources.sessions, resources.blobs, {upload.digest: upload.path}, now=now)
    return StoredBlob(digest=upload.digest, size=upload.size)


@router.get("/{digest}", response_class=Response)
def fetch_blob(digest: BlobDigest, process: PlatformProcess, blobs: Blobs) -> Response:
    """Return the bytes with this digest."""
    return blob_response(blobs, digest)
