"""Search: the environments that somebody may read and that hold all words of a query.

However many there are, a few hundred are looked at: first those with the words in their name, then
in what they say about themselves, then in their README. Those are ranked by where the words were
found, by downloads and by age.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Select, column, func, literal_column, select, table
from sqlalchemy.orm import Session, contains_eager

from freesolo.domain.refs import normalized_name
from hub_server.accounts.service import Member
from hub_server.environments.service import readable
from hub_server.models import Environment, SearchDocument
from hub_server.paging import decode_cursor, encode_cursor, not_a_cursor
from hub_server.search.documents import audience_of, facet, words_of

_MAX_CANDIDATES = 300
# Of a query; the rest asks for nothing.
_MAX_WORDS = 16
_MAX_QUERY = 1000
# What being found by its exact name counts, and at most what being new does.
_EXACT, _NEW = 4.0, 0.5
_HALF_LIFE = timedelta(days=180)


@dataclass(frozen=True)
class Filters:
    """What a result must be, besides found; what is empty lets everything pass."""

    tags: tuple[str, ...] = ()
    org: str = ""
    license: str = ""
    turn_type: str = ""

    def facets(self) -> list[str]:
        """Return the words that stand for these."""
        wanted = [("tag", tag) for tag in self.tags]
        wanted += [("license", self.license), ("turns", self.turn_type)]
        wanted += [("owner", normalized_name(self.org))]
        return [facet(kind, value) for kind, value in wanted if value]


@dataclass(frozen=True)
class _Tier:
    """Where all words are looked for, in the terms of each database, and what finding them counts."""

    columns: str
    weights: str
    score: float


_TIERS = (
    _Tier("name", "A", 4.0),
    _Tier("name about", "AB", 2.0),
    _Tier("name about text", "ABC", 0.0),
)


def search(  # noqa: PLR0913  who asks, for what, when, and for which page
    session: Session,
    visitor: Member | None,
    query: str,
    filters: Filters,
    *,
    now: datetime,
    cursor: str | None = None,
    limit: int = 20,
) -> tuple[Sequence[Environment], str | None]:
    """Return a page of what `visitor` may read and fits, the best first, and the next page's cursor.

    Every word must be there; the last may be the beginning of one. Without any, everything fits.
    There is no syntax to get wrong: any text is a query.
    """
    begin = _offset(cursor)
    words = words_of(query[:_MAX_QUERY])[:_MAX_WORDS]
    if query.strip() and not words:
        return [], None
    scores = {
        environment: _score(environment, words, now=now) + score
        for environment, score in _candidates(session, visitor, words, filters).items()
    }
    ranked = sorted(scores, key=lambda found: (-scores[found], found.name_key, found.id))
    page = ranked[begin : begin + limit]
    more = len(ranked) > begin + limit
    return page, encode_cursor(str(begin + limit)) if more else None


def _candidates(
    session: Session, visitor: Member | None, words: Sequence[str], filters: Filters
) -> dict[Environment, float]:
    """Return what is worth ranking, and what the place counts where the words were found."""
    found: dict[Environment, float] = {}
    audience, facets = audience_of(visitor), filters.facets()
    for tier in _TIERS if words else _TIERS[-1:]:
        if session.get_bind().dialect.name == "sqlite":
            matching = _matching_sqlite(tier, words, facets, audience)
        else:
            matching = _matching_postgresql(tier, words, facets, audience)
        # The index has narrowed it down by who may read what; this is what decides.
        allowed = matching.where(readable(visitor), Environment.deleted_at.is_(None))
        for environment in session.scalars(allowed.limit(_MAX_CANDIDATES)):
            found.setdefault(environment, tier.score)
        if len(found) >= _MAX_CANDIDATES:
            break
    return found


def _matching_sqlite(
    tier: _Tier, words: Sequence[str], facets: Sequence[str], audience: Sequence[str]
) -> Select[Environment]:
    terms = [f"{{facets}} : ({' OR '.join(audience)})"]
    terms += [f"{{facets}} : {word}" for word in facets]
    # Words hold only letters and digits, so quoting them is safe.
    quoted = [f'"{word}"' for word in words]
    terms += [f"{{{tier.columns}}} : {word}" for word in quoted[:-1]]
    terms += [f"{{{tier.columns}}} : {word} *" for word in quoted[-1:]]
    index = table("search_index", column("rowid"))
    matches: ColumnElement[bool] = literal_column("search_index").op("MATCH")(" AND ".join(terms))
    # The newest first: of what fits a common word, they are looked at.
    return (
        _environments()
        .join(index, index.c.rowid == SearchDocument.id)
        .where(matches)
        .order_by(index.c.rowid.desc())
    )


def _matching_postgresql(
    tier: _Tier, words: Sequence[str], facets: Sequence[str], audience: Sequence[str]
) -> Select[Environment]:
    terms = [f"({' | '.join(f'{word}:D' for word in audience)})"]
    terms += [f"{word}:D" for word in facets]
    terms += [f"'{word}':{tier.weights}" for word in words[:-1]]
    terms += [f"'{word}':*{tier.weights}" for word in words[-1:]]
    query = func.to_tsquery(literal_column("'simple'"), " & ".join(terms))
    matches: ColumnElement[bool] = literal_column("search_documents.words").op("@@")(query)
    return _environments().where(matches)


def _environments() -> Select[Environment]:
    return (
        select(Environment)
        .join(SearchDocument, SearchDocument.environment_id == Environment.id)
        .join(Environment.org)
        .options(contains_eager(Environment.org))
    )


def _score(environment: Environment, words: Sequence[str], *, now: datetime) -> float:
    """Return what speaks for an environment besides where the words were found."""
    name = words_of(environment.name)
    exact = _EXACT if list(words) in (name, words_of(environment.org.slug) + name) else 0.0
    age = max(timedelta(), now - environment.updated_at)
    new = _NEW * math.exp2(-age / _HALF_LIFE)
    left = environment.deprecation is not None or environment.archived_at is not None
    return exact + math.log10(1 + environment.downloads) + new - (_EXACT if left else 0.0)


def _offset(cursor: str | None) -> int:
    if cursor is None:
        return 0
    (offset,) = decode_cursor(cursor, parts=1)
    if not (offset.isascii() and offset.isdecimal() and len(offset) <= len(str(_MAX_CANDIDATES))):
        raise not_a_cursor(cursor)
    return int(offset)
