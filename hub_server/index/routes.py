"""The simple index of each environment, for stock `pip` and `uv`."""

from typing import Annotated

from fastapi import APIRouter, Depends, Header, Response
from fastapi.responses import PlainTextResponse

from freesolo.domain.distributions import Distribution
from freesolo.domain.refs import EnvRef
from freesolo.errors import InvalidRef, NotFound
from hub_server.dependencies import Blobs, CountDownload, DbReader, Installer, Tell
from hub_server.downloads import blob_response
from hub_server.environments import service as environments
from hub_server.index import pages, service
from hub_server.index.pages import Format
from hub_server.models import Environment

router = APIRouter(prefix="/simple-env/{org}/{name}", tags=["index"])

_METADATA = ".metadata"


def _environment(org: str, name: str, visitor: Installer, session: DbReader) -> Environment:
    return environments.find(session, visitor, EnvRef(org, name))


def _format(accept: Annotated[str, Header()] = "") -> Format:
    return pages.accepted_format(accept)


OneEnvironment = Annotated[Environment, Depends(_environment, scope="function")]
Accepted = Annotated[Format, Depends(_format)]


@router.get("/", response_class=Response)
def list_distributions(
    environment: OneEnvironment, visitor: Installer, session: DbReader, format_: Accepted
) -> Response:
    """List the environment's distribution, and those of the environments that it builds on."""
    found = {
        distribution
        for each in service.reachable(session, visitor, environment)
        for distribution in service.distributions(session, each)
    }
    page = pages.listing(sorted(found, key=str), format_)
    headers = {"Cache-Control": "private, no-cache", "Vary": "Accept, Authorization"}
    return Response(page, media_type=format_.value, headers=headers)


@router.get("/{distribution}/", response_class=Response)
def list_wheels(
    distribution: str,
    # Before the environment, which is read for this: what changes after it makes the answer old.
    tell: Tell,
    environment: OneEnvironment,
    visitor: Installer,
    session: DbReader,
    format_: Accepted,
) -> Response:
    """List the wheels of one distribution (PEP 503, 592, 658, 691, 700), the oldest first."""
    wanted = _parse(distribution)
    behind = service.find(session, visitor, environment, wanted)
    return tell(
        behind,
        f"wheels of {wanted} as {format_.value}",
        lambda: pages.project(wanted, service.links(session, behind, wanted), format_),
        media_type=format_.value,
    )


@router.get("/files/{filename}", response_class=Response)
def download_wheel(
    filename: str,
    environment: OneEnvironment,
    visitor: Installer,
    session: DbReader,
    blobs: Blobs,
    count_download: CountDownload,
) -> Response:
    """Download a wheel, or with `.metadata` behind its name only what is in its METADATA."""
    wheel = filename.removesuffix(_METADATA)
    version = service.wheel(session, visitor, environment, wheel)
    if wheel != filename:
        return PlainTextResponse(service.metadata(session, version))
    count_download(version.id)
    return blob_response(blobs, version.wheel_digest, filename=filename)


def _parse(distribution: str) -> Distribution:
    try:
        return Distribution.parse(distribution)
    except InvalidRef as error:
        raise NotFound(error.message, hint=error.hint) from None
