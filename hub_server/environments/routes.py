"""Environments: list, show, resolve, download."""

from typing import Annotated

from fastapi import APIRouter, Query, Response
from sqlalchemy.orm import Session

from freesolo.domain.refs import EnvRef, Selector, SelectorKind
from freesolo.schemas import environments as wire
from hub_server.dependencies import Blobs, CountDownload, DbReader, Limit, Tell, Visitor
from hub_server.downloads import blob_response
from hub_server.environments import service, views
from hub_server.models import Environment, EnvironmentVersion

router = APIRouter(prefix="/v1/envs", tags=["environments"])

Spec = Annotated[str, Query(description="What follows `@` in a reference.")]


@router.get("")
def list_environments(
    visitor: Visitor, session: DbReader, cursor: str | None = None, limit: Limit = 50
) -> wire.EnvironmentList:
    """List the org's environments by name; without a key, all that are public."""
    page, next_cursor = service.list_environments(session, visitor, cursor=cursor, limit=limit)
    return wire.EnvironmentList(
        environments=[views.summary(environment) for environment in page], next_cursor=next_cursor
    )


@router.get("/{org}/{name}")
def show_environment(
    org: str, name: str, visitor: Visitor, session: DbReader
) -> wire.EnvironmentDetail:
    """Show an environment and its versions, the newest first."""
    environment = service.find(session, visitor, EnvRef(org, name))
    staged = service.may_see_staged(session, visitor, environment)
    versions = service.published_versions(session, environment, staged=staged)
    return views.detail(session, environment, versions)


@router.get("/{org}/{name}/resolve", response_model=wire.ResolvedVersion)
def resolve_version(
    org: str,
    name: str,
    visitor: Visitor,
    session: DbReader,
    tell: Tell,
    spec: Spec = "",
) -> Response:
    """Return the one version that a reference means now."""
    ref = EnvRef(org, name, Selector.parse(spec))
    environment, version = service.resolve(session, visitor, ref)
    pinned = service.pin(environment, version)
    return tell(environment, f"version {version.version}", pinned.model_dump_json)


@router.get("/{org}/{name}/info")
def show_info(
    org: str, name: str, visitor: Visitor, session: DbReader, spec: Spec = ""
) -> wire.EnvironmentInfo:
    """Show all that is known of the version that a reference means."""
    ref = EnvRef(org, name, Selector.parse(spec))
    return views.info(session, *service.resolve(session, visitor, ref))


@router.get("/{org}/{name}/index", response_model=wire.VersionIndex)
def show_index(org: str, name: str, visitor: Visitor, session: DbReader, tell: Tell) -> Response:
    """List every version with what a resolver needs to choose among them, the newest first."""
    environment = service.find(session, visitor, EnvRef(org, name))
    return tell(environment, "index", lambda: _index(session, environment).model_dump_json())


@router.head("/{org}/{name}/versions/{version}", response_class=Response)
def check_version(
    org: str, name: str, version: str, visitor: Visitor, session: DbReader
) -> Response:
    """Say whether a version is there; its ETag is its tree digest."""
    _, found = service.resolve(session, visitor, _exactly(org, name, version))
    return Response(headers={"ETag": f'"{found.tree_digest}"'})


@router.get("/{org}/{name}/versions/{version}/archive", response_class=Response)
def download_archive(  # noqa: PLR0913  a path of three parts
    org: str,
    name: str,
    version: str,
    visitor: Visitor,
    blobs: Blobs,
    session: DbReader,
    count_download: CountDownload,
    tell: Tell,
) -> Response:
    """Download a version's archive, as it was published."""
    environment, found = service.resolve(session, visitor, _exactly(org, name, version))
    version_id, digest = found.id, found.archive_digest

    def send() -> Response:
        count_download(version_id)
        return blob_response(blobs, digest)

    # Only a file of this machine is found without waiting.
    is_here = blobs.local_path(digest) is not None
    return tell.repeat(environment, send) if is_here else send()


def _exactly(org: str, name: str, version: str) -> EnvRef:
    return EnvRef(org, name, Selector(SelectorKind.EXACT, service.canonical_version(version)))


def _indexed(version: EnvironmentVersion) -> wire.IndexedVersion:
    return wire.IndexedVersion(
        version=version.version,
        tree_digest=version.tree_digest,
        archive_digest=version.archive_digest,
        size=version.size,
        requires_python=version.requires_python,
        environments=version.environments,
        yanked=version.yanked_at is not None,
        yank_reason=version.yank_reason,
        published_at=version.published_at,
    )


def _index(session: Session, environment: Environment) -> wire.VersionIndex:
    versions = service.published_versions(session, environment)
    return wire.VersionIndex(
        ref=service.full_name(environment),
        serial=environment.serial,
        latest_version=environment.latest_version,
        deprecation=environment.deprecation,
        successor=environment.successor,
        versions=[_indexed(version) for version in versions],
    )
