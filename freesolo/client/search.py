"""The hub's calls about finding environments."""

from collections.abc import Sequence

from freesolo.client.connection import HubConnection
from freesolo.schemas.search import SearchPage, SearchResult


class SearchCalls(HubConnection):
    """What is asked when nobody knows the name."""

    def search(
        self,
        query: str,
        *,
        tags: Sequence[str] = (),
        org: str | None = None,
        license: str | None = None,
        turn_type: str | None = None,
        limit: int,
    ) -> list[SearchResult]:
        """Return the environments that hold all words of `query`, the best first."""
        wanted = {"org": org, "license": license, "turn_type": turn_type}
        page = self._get(
            SearchPage, "/v1/search", q=query, tag=list(tags) or None, limit=limit, **wanted
        )
        return page.results
