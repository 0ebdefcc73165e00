"""Publish a large archive piece by piece; a lost connection costs one piece."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Request, Response, status

from freesolo.schemas import environments as wire
from freesolo.schemas.uploads import OFFSET_HEADER, PIECE_BYTES, NewUpload, OpenUpload, UploadEnd
from hub_server.blobs import Part
from hub_server.dependencies import DbReader, DbSession, EnvironmentWriter, FromHub, HubPress, Now
from hub_server.models import Upload
from hub_server.publishing import uploads
from hub_server.uploads import Upload as Body
from hub_server.uploads import spooled

router = APIRouter(prefix="/v1/uploads", tags=["publishing"])


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    responses={status.HTTP_200_OK: {"model": OpenUpload, "description": "It was open already"}},
)
def begin_upload(
    body: NewUpload, member: EnvironmentWriter, session: DbSession, now: Now, response: Response
) -> OpenUpload:
    """Open an upload, or find the open one of the same archive and where it goes on."""
    opened = uploads.begin(session, member, body, now=now)
    if not opened.created:
        response.status_code = status.HTTP_200_OK
    return OpenUpload(upload_id=opened.upload.id, offset=opened.upload.offset)


@router.head("/{upload_id}", response_class=Response)
def show_upload(upload_id: str, member: EnvironmentWriter, session: DbReader, now: Now) -> Response:
    """Tell in the header `Upload-Offset` where the upload goes on."""
    return _at(uploads.find(session, member, upload_id, now=now).offset, status.HTTP_200_OK)


@dataclass(frozen=True)
class Piece:
    """A piece that has arrived whole, and the upload that it belongs to."""

    upload: Upload
    body: Body
    offset: int


def _expecting(
    upload_id: str,
    member: EnvironmentWriter,
    resources: FromHub,
    now: Now,
    offset: Annotated[int, Header(alias=OFFSET_HEADER, ge=0)],
) -> Upload:
    # Before the piece is received, in a transaction that ends before that.
    with resources.readers() as session:
        upload = uploads.find(session, member, upload_id, now=now)
        uploads.check_offset(upload, offset)
        return upload


async def _piece(
    request: Request, upload: Annotated[Upload, Depends(_expecting)], resources: FromHub
) -> AsyncIterator[Piece]:
    limit = min(PIECE_BYTES, upload.size - upload.offset)
    async with spooled(request, resources.blobs.staging, limit=limit) as body:
        yield Piece(upload, body, upload.offset)


@router.patch(
    "/{upload_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    response_class=Response,
    openapi_extra={
        "requestBody": {
            "required": True,
            "description": f"At most {PIECE_BYTES} bytes of the archive.",
            "content": {"application/octet-stream": {"schema": {"type": "string"}}},
        }
    },
)
def append_piece(
    piece: Annotated[Piece, Depends(_piece, scope="function")], resources: FromHub
) -> Response:
    """Append a piece. The answer tells in the header `Upload-Offset` where the next one begins."""
    upload, body = piece.upload, piece.body
    resources.blobs.put_part(upload.id, piece.offset, body.path, digest=body.digest)
    with resources.sessions.begin() as session:
        offset = uploads.append(session, upload.id, Part(piece.offset, body.size))
    return _at(offset, status.HTTP_204_NO_CONTENT)


@router.post(
    "/{upload_id}/finalize",
    status_code=status.HTTP_201_CREATED,
    responses={status.HTTP_200_OK: {"model": wire.PublishedVersion, "description": "Unchanged"}},
)
def finalize_upload(
    upload_id: str,
    member: EnvironmentWriter,
    press: HubPress,
    now: Now,
    response: Response,
    end: UploadEnd | None = None,
) -> wire.PublishedVersion:
    """Publish the archive that has arrived; the answer is that of the `PUT` of a version."""
    checks = end.checks if end else None
    published = uploads.finalize(press, member, upload_id, checks, now=now)
    if published.status == "unchanged":
        response.status_code = status.HTTP_200_OK
    return published


def _at(offset: int, status_code: int) -> Response:
    headers = {OFFSET_HEADER: str(offset), "Cache-Control": "no-store"}
    return Response(status_code=status_code, headers=headers)
