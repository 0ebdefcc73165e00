"""Searching for environments."""

from datetime import datetime

from freesolo.schemas.base import Page, Wire


class SearchResult(Wire):
    """An environment that was found, as its newest version describes it."""

    ref: str
    summary: str
    latest_version: str
    license: str
    tags: list[str]
    turn_type: str
    downloads: int
    updated_at: datetime
    deprecation: str | None = None
    archived: bool = False


class SearchPage(Page):
    """The answer of `GET /v1/search`, the best first; `next_cursor` is None on the last page."""

    results: list[SearchResult]
