"""Search: the environments that somebody may read and that hold all words of a query.

However many there are, a few hundred are looked at: first those with the words in their name, then
in what they say about themselves, then in their README. Those are ranked by where the words were
found, by downloads and by how new their last change is.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Row, Select, column, func, literal_column, or_, select, table
from sqlalchemy.orm import Session, joinedload

from freesolo.domain.refs import normalized_name
from hub_server.accounts.service import Member
from hub_server.environments.service import readable
from hub_server.models import Environment, Org, SearchDocument
from hub_server.paging import decode_cursor, encode_cursor, not_a_cursor
from hub_server.search.documents import audience_of, facet, words_of

_MAX_CANDIDATES = 200
# Of a query; the rest asks for nothing.
_MAX_WORDS = 16
_MAX_QUERY = 1000
# What being found by its exact name counts, and at most what being new does.
_EXACT, _NEW = 4.0, 0.5

# The document's id, name, org, downloads, last change, and whether it is deprecated or archived.
_Query = Select[int, str, str, int, int, bool]
_Row = Row[int, str, str, int, int, bool]


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


def search(
    session: Session,
    visitor: Member | None,
    query: str,
    filters: Filters,
    *,
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
    found = _candidates(session, visitor, words, filters)
    newest = max((row.serial for row, _ in found), default=0)
    scores = {
        row.id: tier.score + _score(row, " ".join(words), newest=newest) for row, tier in found
    }
    ranked = sorted(scores, key=lambda each: (-scores[each], each))
    page = ranked[begin : begin + limit]
    more = len(ranked) > begin + limit
    return _load(session, page), encode_cursor(str(begin + limit)) if more else None


def _candidates(
    session: Session, visitor: Member | None, words: Sequence[str], filters: Filters
) -> Collection[tuple[_Row, _Tier]]:
    """Return what is worth ranking, each with the first place where the words were found."""
    found: dict[int, tuple[_Row, _Tier]] = {}
    audience, facets = audience_of(visitor), filters.facets()
    on_sqlite = session.get_bind().dialect.name == "sqlite"
    matching = _matching_sqlite if on_sqlite else _matching_postgresql
    for tier in _TIERS if words else _TIERS[-1:]:
        # The index has narrowed it down by who may read what; this is what decides.
        allowed = matching(tier, words, facets, audience).where(
            readable(visitor), Environment.deleted_at.is_(None)
        )
        for row in session.execute(allowed.limit(_MAX_CANDIDATES)):
            found.setdefault(row.id, (row, tier))
        if len(found) >= _MAX_CANDIDATES:
            break
    return found.values()


def _matching_sqlite(
    tier: _Tier, words: Sequence[str], facets: Sequence[str], audience: Sequence[str]
) -> _Query:
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
        _all()
        .join(index, index.c.rowid == SearchDocument.id)
        .where(matches)
        .order_by(index.c.rowid.desc())
    )


def _matching_postgresql(
    tier: _Tier, words: Sequence[str], facets: Sequence[str], audience: Sequence[str]
) -> _Query:
    terms = [f"({' | '.join(f'{word}:D' for word in audience)})"]
    terms += [f"{word}:D" for word in facets]
    terms += [f"'{word}':{tier.weights}" for word in words[:-1]]
    terms += [f"'{word}':*{tier.weights}" for word in words[-1:]]
    query = func.to_tsquery(literal_column("'simple'"), " & ".join(terms))
    matches: ColumnElement[bool] = literal_column("search_documents.words").op("@@")(query)
    return _all().where(matches)


def _all() -> _Query:
    """Return the query for what ranking needs to know of every environment."""
    return (
        select(
            SearchDocument.id,
            SearchDocument.name,
            Org.slug,
            Environment.downloads,
            Environment.serial,
            or_(Environment.deprecation.is_not(None), Environment.archived_at.is_not(None)).label(
                "is_left"
            ),
        )
        .join_from(SearchDocument, Environment, SearchDocument.environment_id == Environment.id)
        .join(Environment.org)
    )


def _load(session: Session, ids: Sequence[int]) -> list[Environment]:
    """Return the environments of documents, in the order of their ids."""
    query = (
        select(SearchDocument.id, Environment)
        .join_from(SearchDocument, Environment, SearchDocument.environment_id == Environment.id)
        .where(SearchDocument.id.in_(ids))
        .options(joinedload(Environment.org))
    )
    found = {row.id: row.Environment for row in session.execute(query)}
    return [found[each] for each in ids]


def _score(row: _Row, asked: str, *, newest: int) -> float:
    """Return what speaks for an environment besides where the words were found.

    Changes are numbered, so the highest number of all candidates tells how new each one is.
    """
    exact = asked == row.name or (
        asked.endswith(f" {row.name}") and asked == f"{' '.join(words_of(row.slug))} {row.name}"
    )
    score = math.log10(1 + row.downloads) + _NEW * float(row.serial) / max(1, newest)
    return score + (_EXACT if exact else 0.0) - (_EXACT if row.is_left else 0.0)


def _offset(cursor: str | None) -> int:
    if cursor is None:
        return 0
    (offset,) = decode_cursor(cursor, parts=1)
    if not (offset.isascii() and offset.isdecimal() and len(offset) <= len(str(_MAX_CANDIDATES))):
        raise not_a_cursor(cursor)
    return int(offset)
