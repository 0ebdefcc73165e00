"""What a version holds: its manifest, files, README and dataset; and who builds on it."""

from collections.abc import Iterator
from functools import partial
from pathlib import PurePosixPath
from typing import Annotated, BinaryIO
from urllib.parse import quote

from fastapi import APIRouter, Depends, Header, Response
from fastapi.responses import StreamingResponse

from freesolo.domain.refs import EnvRef
from freesolo.package.wheel import open_wheel_file
from freesolo.schemas import contents as wire
from freesolo.schemas.checks import CheckReport, VersionChecks
from hub_server.blobs.store import BYTES, FOR_EVER
from hub_server.contents import service
from hub_server.contents.service import Found
from hub_server.dependencies import Blobs, DbReader, Limit, Visitor
from hub_server.environments import service as environments

router = APIRouter(prefix="/v1/envs/{org}/{name}", tags=["contents"])

_CHUNK = 1 << 20


def _found(org: str, name: str, version: str, visitor: Visitor, session: DbReader) -> Found:
    return service.find(session, visitor, EnvRef(org, name), version)


OneVersion = Annotated[Found, Depends(_found, scope="function")]


@router.get("/versions/{version}")
def show_version(found: OneVersion, session: DbReader) -> wire.VersionDetail:
    """Show one version: its digests, manifest, sizes and counts."""
    return service.detail(session, found)


@router.get("/versions/{version}/files")
def list_files(found: OneVersion, session: DbReader) -> wire.FileList:
    """List every file of a version with its digest, by path."""
    return wire.FileList(
        ref=found.ref,
        version=found.version.version,
        tree_digest=found.version.tree_digest,
        files=service.files(session, found.version),
    )


@router.get("/versions/{version}/files/{path:path}", response_class=StreamingResponse)
def read_file(
    path: str,
    found: OneVersion,
    blobs: Blobs,
    session: DbReader,
    if_none_match: Annotated[str, Header()] = "",
) -> Response:
    """Download one file of a version, always as an attachment that no browser would show."""
    file = service.file(session, found, path)
    headers = _headers(file)
    if headers["ETag"] in if_none_match:
        return Response(status_code=304, headers=headers)
    body = _read(blobs.open(found.version.wheel_digest), path)
    return StreamingResponse(
        body, media_type=BYTES, headers={**headers, "Content-Length": str(file.size)}
    )


@router.get("/versions/{version}/readme")
def show_readme(found: OneVersion, session: DbReader) -> wire.Readme:
    """Show a version's README as HTML in which nothing runs and nothing is fetched from elsewhere."""
    html = service.contents_of(session, found.version).readme_html
    return wire.Readme(ref=found.ref, version=found.version.version, html=html)


@router.get("/versions/{version}/dataset")
def show_dataset(found: OneVersion, session: DbReader) -> wire.Dataset:
    """Show what a version's dataset holds: splits, columns, overlaps, and the first rows."""
    stored = service.contents_of(session, found.version).dataset
    report = wire.DatasetReport.model_validate(stored)
    return wire.Dataset(ref=found.ref, version=found.version.version, report=report)


@router.get("/versions/{version}/checks")
def show_checks(found: OneVersion, session: DbReader) -> VersionChecks:
    """Show what `validate` said of a version, as its publisher sent it: a claim, not a proof."""
    stored = service.contents_of(session, found.version).checks
    report = CheckReport.model_validate(stored) if stored else None
    return VersionChecks(ref=found.ref, version=found.version.version, report=report)


@router.get("/dependents")
def list_dependents(
    org: str,
    name: str,
    visitor: Visitor,
    session: DbReader,
    cursor: str | None = None,
    limit: Limit = 50,
) -> wire.DependentList:
    """List the environments that build on this one, by name, those that the key may read."""
    environment = environments.find(session, visitor, EnvRef(org, name))
    listed, next_cursor = service.dependents(
        session, visitor, environment, cursor=cursor, limit=limit
    )
    return wire.DependentList(dependents=listed, next_cursor=next_cursor)


def _headers(file: wire.FileEntry) -> dict[str, str]:
    name = quote(PurePosixPath(file.path).name, safe="")
    return {
        "ETag": f'"{file.sha256}"',
        "Cache-Control": FOR_EVER,
        "Content-Disposition": f"attachment; filename*=utf-8''{name}",
        "Content-Security-Policy": "sandbox",
        "X-Content-Type-Options": "nosniff",
    }


def _read(wheel: BinaryIO, path: str) -> Iterator[bytes]:
    with wheel, open_wheel_file(wheel, path) as body:
        yield from iter(partial(body.read, _CHUNK), b"")
