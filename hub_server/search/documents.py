"""What search finds an environment by, written with the change that makes it so."""

import hashlib
import html
import unicodedata
from collections.abc import Iterable, Iterator

import nh3
from packaging.utils import canonicalize_version
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from freesolo.domain.refs import normalized_name
from freesolo.domain.roles import Visibility
from hub_server.accounts.service import Member
from hub_server.db import insert_or_update
from hub_server.models import (
    Environment,
    EnvironmentGrant,
    EnvironmentVersion,
    SearchDocument,
    VersionContents,
)

# Characters of a README's page, and of a word, that count; the rest finds nothing.
_MAX_PAGE = 100_000
_MAX_WORD = 64


def reindex(session: Session, environment: Environment) -> None:
    """Let search find an environment as this transaction leaves it, or no longer.

    `environment.org` must be loaded.
    """
    if environment.deleted_at is not None or not environment.latest_version:
        session.execute(
            delete(SearchDocument).where(SearchDocument.environment_id == environment.id)
        )
        return
    about = (environment.org.slug, environment.summary, *environment.tags)
    document = {
        "environment_id": environment.id,
        "name": " ".join(words_of(environment.name)),
        "about": " ".join(word for text in about for word in words_of(text)),
        "text": " ".join(words_of(_readme(session, environment))),
        "facets": " ".join((*_traits(environment), *_audience(session, environment))),
    }
    insert_or_update(session, SearchDocument, document, key="environment_id")


def words_of(text: str) -> list[str]:
    """Split text into words that compare: lower case, without accents, letters and digits only.

    Both databases see only such words, so that they find the same.
    """
    plain = unicodedata.normalize("NFKD", text.casefold())
    spaced = "".join(
        character if character.isalnum() else " "
        for character in plain
        if not unicodedata.combining(character)
    )
    return [word[:_MAX_WORD] for word in spaced.split()]


def facet(kind: str, value: str) -> str:
    """Return one word that stands for a value, whatever that is, of a tag or another trait."""
    digest = hashlib.sha256(f"{kind}\n{value.strip().casefold()}".encode())
    return f"{kind}{digest.hexdigest()[:24]}"


def audience_of(visitor: Member | None) -> list[str]:
    """Return the words of which an environment has at least one if `visitor` may read it."""
    if visitor is None:
        return [Visibility.PUBLIC.value]
    orgs = [f"org{org_id.hex}" for org_id in visitor.roles]
    user = [f"user{visitor.user_id.hex}"] if visitor.user_id else []
    return [Visibility.PUBLIC.value, Visibility.INTERNAL.value, *orgs, *user]


def _audience(session: Session, environment: Environment) -> Iterator[str]:
    if environment.visibility is not Visibility.PRIVATE:
        yield environment.visibility.value
    yield f"org{environment.org_id.hex}"
    grants = select(EnvironmentGrant.org_id, EnvironmentGrant.user_id)
    for org_id, user_id in session.execute(
        grants.where(EnvironmentGrant.environment_id == environment.id)
    ):
        if org_id is not None:
            yield f"org{org_id.hex}"
        if user_id is not None:
            yield f"user{user_id.hex}"


def _traits(environment: Environment) -> Iterable[str]:
    yield facet("owner", normalized_name(environment.org.slug))
    yield facet("license", environment.license)
    yield facet("turns", environment.turn_type)
    yield from (facet("tag", tag) for tag in environment.tags)


def _readme(session: Session, environment: Environment) -> str:
    """Return the words of the shown version's README."""
    page = session.scalar(
        select(VersionContents.readme_html)
        .join(EnvironmentVersion, EnvironmentVersion.id == VersionContents.version_id)
        .where(
            EnvironmentVersion.environment_id == environment.id,
            EnvironmentVersion.version_key == canonicalize_version(environment.latest_version),
        )
    )
    # A space, so that the words of neighbouring cells and lines stay apart.
    marked = (page or "")[:_MAX_PAGE].replace("<", " <")
    return html.unescape(nh3.clean(marked, tags=set()))
