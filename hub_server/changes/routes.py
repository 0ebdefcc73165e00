"""The feed of changes: what mirrors and caches follow, and anybody can verify."""

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Query

from freesolo.schemas import changes as wire
from hub_server.changes import feed
from hub_server.changes.service import feed_head
from hub_server.dependencies import DbReader, Visitor

router = APIRouter(prefix="/v1/changes", tags=["changes"])

_MAX_SERIAL = 2**63 - 1


@router.get("")
def list_changes(
    visitor: Visitor,
    session: DbReader,
    since: Annotated[
        int, Query(ge=0, le=_MAX_SERIAL, description="The last change that is known already.")
    ] = 0,
    limit: Annotated[int, Query(ge=1, le=1000, description="The most changes to return.")] = 100,
) -> wire.Feed:
    """List what happened after a change, the oldest first; what you may not see as hashes only."""
    page = feed.read(session, visitor, since=since, limit=limit)
    return wire.Feed(
        changes=[wire.FeedItem.model_validate(link, from_attributes=True) for link in page.links],
        head=wire.FeedHead(**asdict(page.head)),
    )


@router.get("/head")
def show_head(visitor: Visitor, session: DbReader) -> wire.FeedHead:
    """Return the number of the last change and the hash of the whole feed."""
    return wire.FeedHead(**asdict(feed_head(session)))
