"""Environments: publish, list, resolve, download."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Request, Response, status
from fastapi.responses import StreamingResponse

from freesolo.domain.packaging import MAX_ARCHIVE_BYTES
from freesolo.domain.refs import EnvRef, Selector, SelectorKind
from freesolo.errors import InvalidInput
from freesolo.schemas import environments as wire
from hub_server.accounts.service import Member
from hub_server.dependencies import (
    Blobs,
    DbReader,
    DbSession,
    EnvironmentReader,
    EnvironmentWriter,
    Limit,
    Now,
)
from hub_server.downloads import blob_response
from hub_server.environments import service
from hub_server.models import Environment
from hub_server.uploads import Upload, check_digest, content_digest, spooled

router = APIRouter(prefix="/v1/environments", tags=["environments"])


@dataclass(frozen=True)
class Submission:
    """An archive that has arrived whole, from a member who may publish it."""

    member: Member
    upload: Upload
    tree_digest: str | None


async def _submission(
    org: str,
    request: Request,
    member: EnvironmentWriter,
    blobs: Blobs,
    content_digest_header: Annotated[str, Header(alias="Content-Digest")],
    x_tree_digest: Annotated[str | None, Header()] = None,
) -> AsyncIterator[Submission]:
    service.require_own_org(member, org)
    expected = content_digest(content_digest_header)
    async with spooled(request, blobs.staging, limit=MAX_ARCHIVE_BYTES) as upload:
        check_digest(upload, expected)
        yield Submission(member, upload, x_tree_digest)


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
def publish_version(  # noqa: PLR0913  a path of three parts, and what it is stored with
    name: str,
    version: str,
    submission: Annotated[Submission, Depends(_submission, scope="function")],
    blobs: Blobs,
    session: DbSession,
    now: Now,
    response: Response,
) -> wire.PublishedVersion:
    """Publish an archive as an immutable version: 201 if it is new, 200 if it was there."""
    upload = submission.upload
    package = service.inspect_package(upload.path, upload.digest, name=name, version=version)
    if submission.tree_digest not in (None, package.tree_digest):
        raise InvalidInput(
            f"The archive holds {package.tree_digest}, but X-Tree-Digest says "
            f"{submission.tree_digest}."
        )
    # Blob first: an orphan is harmless, a version without its archive is not.
    blobs.put(upload.digest, upload.path)
    published = service.publish(session, submission.member, package, now=now)
    if not published.created:
        response.status_code = status.HTTP_200_OK
    pinned = service.pin(submission.member, published.environment, published.version)
    return wire.PublishedVersion(
        **pinned.model_dump(),
        status="created" if published.created else "unchanged",
        published_at=published.version.published_at,
    )


@router.get("")
def list_environments(
    member: EnvironmentReader, session: DbReader, cursor: str | None = None, limit: Limit = 50
) -> wire.EnvironmentList:
    """List the org's environments by name."""
    page, next_cursor = service.list_environments(session, member, cursor=cursor, limit=limit)
    return wire.EnvironmentList(
        environments=[_summary(member, environment) for environment in page],
        next_cursor=next_cursor,
    )


@router.get("/{org}/{name}")
def show_environment(
    org: str, name: str, member: EnvironmentReader, session: DbReader
) -> wire.EnvironmentDetail:
    """Show an environment and its versions, the newest first."""
    environment, versions = service.history(session, member, EnvRef(org, name))
    return wire.EnvironmentDetail(
        ref=f"{member.org}/{environment.name}",
        summary=environment.summary,
        versions=[
            wire.VersionSummary(
                version=version.version,
                tree_digest=version.tree_digest,
                size=version.size,
                published_at=version.published_at,
            )
            for version in versions
        ],
    )


@router.get("/{org}/{name}/resolve")
def resolve_version(
    org: str,
    name: str,
    member: EnvironmentReader,
    session: DbReader,
    selector: Annotated[str, Query(description="What follows `@` in a reference.")] = "",
) -> wire.ResolvedVersion:
    """Return the one version that a reference means now."""
    ref = EnvRef(org, name, Selector.parse(selector))
    return service.pin(member, *service.resolve(session, member, ref))


@router.get("/{org}/{name}/versions/{version}/archive", response_class=StreamingResponse)
def download_archive(
    org: str,
    name: str,
    version: str,
    member: EnvironmentReader,
    blobs: Blobs,
    session: DbReader,
) -> StreamingResponse:
    """Download a version's archive, as it was published."""
    ref = EnvRef(org, name, Selector(SelectorKind.EXACT, service.canonical_version(version)))
    _, found = service.resolve(session, member, ref)
    return blob_response(blobs, found.archive_digest)


def _summary(member: Member, environment: Environment) -> wire.EnvironmentSummary:
    return wire.EnvironmentSummary(
        ref=f"{member.org}/{environment.name}",
        summary=environment.summary,
        latest_version=environment.latest_version,
        updated_at=environment.updated_at,
    )
