"""Resumable uploads: how an archive above `RESUMABLE_BYTES` reaches the hub, piece by piece.

`POST /v1/uploads` opens one, or returns the open one of the same archive. `PATCH /v1/uploads/{id}`
sends a piece of at most `PIECE_BYTES` at the header `Upload-Offset` and is answered 204 with the
next one; `HEAD` asks for it. `POST /v1/uploads/{id}/finalize` publishes and answers as the `PUT` of
a version does.
"""

from typing import Annotated

from pydantic import Field, StringConstraints

from freesolo.domain.packaging import MAX_ARCHIVE_BYTES
from freesolo.schemas.base import Digest, Wire
from freesolo.schemas.checks import CheckReport

OFFSET_HEADER = "Upload-Offset"
RESUMABLE_BYTES = 16 * 1024**2
PIECE_BYTES = 8 * 1024**2

_Text = Annotated[str, StringConstraints(min_length=1, max_length=100)]


class NewUpload(Wire):
    """The body of `POST /v1/uploads`. With `stage`, the version is seen by writers only."""

    org: _Text
    name: _Text
    version: _Text
    tree_digest: Digest
    archive_digest: Digest
    size: int = Field(gt=0, le=MAX_ARCHIVE_BYTES, description="Bytes of the archive.")
    stage: bool = False


class OpenUpload(Wire):
    """The answer of `POST /v1/uploads`: 201 when it is new, 200 when it was open already."""

    upload_id: str
    offset: int = Field(ge=0, description="Bytes that the hub has; send on from here.")


class UploadEnd(Wire):
    """The body, which may be left out, of `POST /v1/uploads/{id}/finalize`."""

    checks: CheckReport | None = None
