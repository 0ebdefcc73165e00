"""Publish a version of an environment."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Request, Response, status
from pydantic import ValidationError

from freesolo.domain.packaging import MAX_ARCHIVE_BYTES
from freesolo.domain.problems import problems_from_validation
from freesolo.domain.refs import EnvRef
from freesolo.errors import InvalidInput
from freesolo.schemas import environments as wire
from freesolo.schemas.checks import CHECKS_HEADER, MAX_CHECKS_BYTES, CheckReport
from hub_server.dependencies import (
    Blobs,
    DbSession,
    EnvironmentWriter,
    FromHub,
    HubPress,
    IdempotencyKey,
    Now,
)
from hub_server.environments.service import canonical_version
from hub_server.publishing import service
from hub_server.publishing.service import Received, Submission
from hub_server.uploads import check_digest, content_digest, spooled

router = APIRouter(prefix="/v1/envs", tags=["publishing"])


def _submission(  # noqa: PLR0913  a path of three parts, and what it is stored with
    org: str,
    name: str,
    version: str,
    member: EnvironmentWriter,
    resources: FromHub,
    stage: Annotated[bool, Query(description="Show the version to writers only.")] = False,
    x_tree_digest: Annotated[str | None, Header()] = None,
    x_checks: Annotated[
        str | None,
        Header(
            max_length=MAX_CHECKS_BYTES,
            description="What `validate` said: a `CheckReport` as JSON in ASCII.",
        ),
    ] = None,
) -> Submission:
    checks = _read_checks(x_checks) if x_checks else None
    ref = EnvRef(org, name)
    # Before the archive is received, in a transaction that ends before that.
    with resources.readers() as session:
        service.check_may_publish(session, member, ref)
    return Submission(member, ref, canonical_version(version), stage, x_tree_digest, checks)


def _read_checks(text: str) -> CheckReport:
    try:
        return CheckReport.model_validate_json(text)
    except ValidationError as error:
        problems = problems_from_validation(error, CheckReport)
        first = problems[0]
        raise InvalidInput(
            f"{CHECKS_HEADER} is wrong{f' at `{first.path}`' if first.path else ''}: {first.message}",
            problems=problems,
        ) from None


async def _received(
    request: Request,
    submission: Annotated[Submission, Depends(_submission)],
    blobs: Blobs,
    content_digest_header: Annotated[str, Header(alias="Content-Digest")],
) -> AsyncIterator[Received]:
    expected = content_digest(content_digest_header)
    async with spooled(request, blobs.staging, limit=MAX_ARCHIVE_BYTES) as upload:
        check_digest(upload, expected)
        yield Received(upload.path, upload.digest)


@router.put(
    "/{org}/{name}/versions/{version}",
    status_code=status.HTTP_201_CREATED,
    responses={status.HTTP_200_OK: {"model": wire.PublishedVersion, "description": "Unchanged"}},
    openapi_extra={
        "requestBody": {
            "required": True,
            "description": "A `.tar.zst` or `.tar.gz` of the environment's folder.",
            "content": {"application/octet-stream": {"schema": {"type": "string"}}},
        }
    },
)
def publish_version(
    submission: Annotated[Submission, Depends(_submission)],
    received: Annotated[Received, Depends(_received, scope="function")],
    press: HubPress,
    now: Now,
    response: Response,
    idempotency_key: IdempotencyKey = None,
) -> wire.PublishedVersion:
    """Publish an archive as an immutable version: 201 if it is new, 200 if it was there.

    Sending the same archive again is always safe, with or without an `Idempotency-Key`.
    """
    published = service.publish(press, submission, received, now=now)
    if published.status == "unchanged":
        response.status_code = status.HTTP_200_OK
    return published


@router.post("/{org}/{name}/versions/{version}/promote")
def promote_version(  # noqa: PLR0913  a path of three parts
    org: str,
    name: str,
    version: str,
    member: EnvironmentWriter,
    session: DbSession,
    press: HubPress,
    now: Now,
) -> wire.PublishedVersion:
    """Show a staged version to everybody who may read the environment."""
    ref, stored = EnvRef(org, name), canonical_version(version)
    return service.promote(session, press.signer, member, ref, stored, now=now)
