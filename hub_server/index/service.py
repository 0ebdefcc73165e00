"""Which distributions an environment's index holds: its own, and those it builds on.

An index knows nothing else and says so, so that no name asked of it is then looked for elsewhere.
"""

from collections.abc import Iterator

from packaging.version import Version
from sqlalchemy import Select
from sqlalchemy.orm import Session

from freesolo.domain.distributions import Distribution, parse_wheel
from freesolo.domain.refs import EnvRef
from freesolo.errors import InvalidRef, NotFound
from hub_server.accounts.service import Member
from hub_server.environments import service as environments
from hub_server.index.pages import WheelLink
from hub_server.models import (
    Environment,
    EnvironmentVersion,
    VersionContents,
    VersionDependency,
    VersionState,
)

# No index holds more environments, whatever their manifests say.
_MAX_REACHABLE = 200


def reachable(
    session: Session, visitor: Member | None, environment: Environment
) -> list[Environment]:
    """Return an environment and those it builds on, over any number of steps, that may be read."""
    found = [environment]
    for each in found:
        for ref in _needs(session, each):
            below = environments.named(session, ref)
            if below and below not in found and _may_read(session, visitor, below):
                found.append(below)
        if len(found) >= _MAX_REACHABLE:
            break
    return found


def distributions(session: Session, environment: Environment) -> list[Distribution]:
    """Return what an environment's versions are installed as: more than one if it was renamed."""
    names = session.scalars(
        _published(environment).with_only_columns(EnvironmentVersion.distribution).distinct()
    )
    return [Distribution.parse(name) for name in names]


def find(
    session: Session, visitor: Member | None, environment: Environment, distribution: Distribution
) -> Environment:
    """Return the environment behind a distribution in the index of `environment`.

    Raise `NotFound` if it is not one of those that the index holds.
    """
    ref = EnvRef(distribution.org, distribution.name)
    named = environments.named(session, ref)
    if named is None or (
        named != environment and named not in reachable(session, visitor, environment)
    ):
        raise _not_here(environment, str(distribution))
    return named


def links(
    session: Session, environment: Environment, distribution: Distribution
) -> list[WheelLink]:
    """Return the wheels that an environment has under a distribution's name, oldest version first."""
    versions = session.scalars(
        _published(environment).where(EnvironmentVersion.distribution == str(distribution))
    )
    found = [_link(distribution, version) for version in versions]
    return sorted(found, key=lambda link: Version(link.version))


def wheel(
    session: Session, visitor: Member | None, environment: Environment, filename: str
) -> EnvironmentVersion:
    """Return the version whose wheel has this name; raise `NotFound` if the index has no such file."""
    try:
        distribution, version = parse_wheel(filename)
    except InvalidRef:
        raise _not_here(environment, filename) from None
    behind = find(session, visitor, environment, distribution)
    found = session.scalars(
        _published(behind).where(
            EnvironmentVersion.distribution == str(distribution),
            EnvironmentVersion.version == str(version),
        )
    ).one_or_none()
    if found is None:
        raise _not_here(environment, filename)
    return found


def metadata(session: Session, version: EnvironmentVersion) -> str:
    """Return the METADATA in a version's wheel."""
    return session.get_one(VersionContents, version.id).wheel_metadata


def _needs(session: Session, environment: Environment) -> Iterator[EnvRef]:
    rows = session.execute(
        _published(environment)
        .join(VersionDependency, VersionDependency.version_id == EnvironmentVersion.id)
        .with_only_columns(VersionDependency.org_key, VersionDependency.name_key)
        .distinct()
        .limit(_MAX_REACHABLE)
    )
    for org_key, name_key in rows:
        yield EnvRef(org_key, name_key)


def _may_read(session: Session, visitor: Member | None, environment: Environment) -> bool:
    return not environment.deleted_at and bool(environments.role_in(session, visitor, environment))


def _published(environment: Environment) -> Select[EnvironmentVersion]:
    return environments.versions_of(environment).where(
        EnvironmentVersion.state == VersionState.PUBLISHED
    )


def _link(distribution: Distribution, version: EnvironmentVersion) -> WheelLink:
    return WheelLink(
        filename=distribution.wheel(version.version),
        version=version.version,
        sha256=version.wheel_digest.removeprefix("sha256:"),
        metadata_sha256=version.wheel_metadata_digest.removeprefix("sha256:"),
        size=version.wheel_size,
        requires_python=version.requires_python,
        uploaded_at=version.published_at,
        yanked=None if version.yanked_at is None else version.yank_reason or "",
    )


def _not_here(environment: Environment, what: str) -> NotFound:
    name = environments.full_name(environment)
    return NotFound(
        f"{what!r} is not in the index of {name}.",
        hint=f"It holds {name} and what that builds on; take everything else from elsewhere.",
    )
