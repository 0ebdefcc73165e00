"""Search."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from freesolo.schemas import search as wire
from hub_server.dependencies import DbReader, Limit, Visitor
from hub_server.environments.service import full_name
from hub_server.models import Environment
from hub_server.search import service
from hub_server.search.service import Filters

router = APIRouter(prefix="/v1/search", tags=["search"])

_Query = Annotated[str, Query(description="Words that must all be there; the last may be cut off.")]
_Tags = Annotated[list[str] | None, Query(alias="tag", description="Every one must be there.")]
_TurnType = Annotated[str, Query(description="`single-turn` or `multi-turn`.")]


def _filters(
    org: str = "", license: str = "", turn_type: _TurnType = "", tags: _Tags = None
) -> Filters:
    return Filters(tags=tuple(tags or ()), org=org, license=license, turn_type=turn_type)


@router.get("")
def search(
    visitor: Visitor,
    session: DbReader,
    filters: Annotated[Filters, Depends(_filters)],
    q: _Query = "",
    cursor: str | None = None,
    limit: Limit = 20,
) -> wire.SearchPage:
    """Find environments by words and traits, among those that the caller may read."""
    page, next_cursor = service.search(session, visitor, q, filters, cursor=cursor, limit=limit)
    return wire.SearchPage(results=[_result(found) for found in page], next_cursor=next_cursor)


def _result(environment: Environment) -> wire.SearchResult:
    return wire.SearchResult(
        ref=full_name(environment),
        summary=environment.summary,
        latest_version=environment.latest_version,
        license=environment.license,
        tags=environment.tags,
        turn_type=environment.turn_type,
        downloads=environment.downloads,
        updated_at=environment.updated_at,
        deprecation=environment.deprecation,
        archived=environment.archived_at is not None,
    )
