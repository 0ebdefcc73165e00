"""What a version holds, read from what was recorded and stored when it was published."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Select, and_, func, or_, select, tuple_
from sqlalchemy.orm import Session, joinedload

from freesolo.domain.distributions import Distribution
from freesolo.domain.refs import EnvRef, Selector, SelectorKind
from freesolo.domain.selection import newest_first
from freesolo.domain.suggest import did_you_mean
from freesolo.errors import PackageFileNotFound
from freesolo.schemas import contents as wire
from hub_server.accounts.service import Member
from hub_server.environments import service as environments
from hub_server.models import (
    Environment,
    EnvironmentRedirect,
    EnvironmentVersion,
    Org,
    VersionContents,
    VersionDependency,
    VersionState,
    VersionUse,
)
from hub_server.paging import decode_cursor, encode_cursor

_Name = tuple[str, str]


@dataclass(frozen=True)
class Found:
    """A version that the visitor may read."""

    environment: Environment
    version: EnvironmentVersion

    @property
    def ref(self) -> str:
        """The environment's name."""
        return environments.full_name(self.environment)


def find(session: Session, visitor: Member | None, ref: EnvRef, version: str) -> Found:
    """Return one version, also one that was yanked, and for writers one that is staged."""
    text = environments.canonical_version(version)
    exact = EnvRef(ref.org, ref.name, Selector(SelectorKind.EXACT, text))
    return Found(*environments.resolve(session, visitor, exact))


def detail(session: Session, found: Found) -> wire.VersionDetail:
    """Return what is known of a version, but for the lists that have answers of their own."""
    version = found.version
    contents = contents_of(session, version)
    report = wire.DatasetReport.model_validate(contents.dataset)
    return wire.VersionDetail(
        ref=found.ref,
        version=version.version,
        state=version.state.value,
        tree_digest=version.tree_digest,
        archive_digest=version.archive_digest,
        size=version.size,
        unpacked_size=version.unpacked_size,
        file_count=version.file_count,
        manifest=contents.manifest,
        rows={split.path: split.rows for split in report.splits},
        uses=_uses(session, version),
        wheel=wire.WheelFile(
            filename=Distribution.parse(version.distribution).wheel(version.version),
            digest=version.wheel_digest,
            size=version.wheel_size,
        ),
        published_at=version.published_at,
        yanked=version.yanked_at is not None,
        yank_reason=version.yank_reason,
    )


def contents_of(session: Session, version: EnvironmentVersion) -> VersionContents:
    """Return what was recorded about a version's content."""
    return session.get_one(VersionContents, version.id)


def files(session: Session, version: EnvironmentVersion) -> list[wire.FileEntry]:
    """Return every file of a version, by path."""
    listed = contents_of(session, version).files
    return sorted(map(wire.FileEntry.model_validate, listed), key=lambda file: file.path)


def file(session: Session, found: Found, path: str) -> wire.FileEntry:
    """Return one file of a version; raise `PackageFileNotFound` with the nearest path if none."""
    by_path = {file.path: file for file in files(session, found.version)}
    if path not in by_path:
        raise PackageFileNotFound(
            f"{found.ref} {found.version.version} has no file {path!r}.",
            hint=did_you_mean(path, by_path),
        )
    return by_path[path]


def dependents(
    session: Session,
    visitor: Member | None,
    environment: Environment,
    *,
    cursor: str | None,
    limit: int,
) -> tuple[list[wire.Dependent], str | None]:
    """Return a page of the environments that build on this one, by name, and the next cursor."""
    names = _names(session, environment)
    query = (
        select(Environment)
        .join(Environment.org)
        .options(joinedload(Environment.org))
        .where(environments.readable(visitor), Environment.deleted_at.is_(None))
        .where(
            Environment.id.in_(
                _building_on(names).with_only_columns(EnvironmentVersion.environment_id)
            )
        )
    )
    if cursor is not None:
        org, name = decode_cursor(cursor, parts=2)
        query = query.where(
            or_(Org.name_key > org, and_(Org.name_key == org, Environment.name_key > name))
        )
    ordered = query.order_by(Org.name_key, Environment.name_key)
    found = session.scalars(ordered.limit(limit + 1)).all()
    page = found[:limit]
    listed = [_dependent(session, each, names) for each in page]
    if len(found) <= limit:
        return listed, None
    return listed, encode_cursor(page[-1].org.name_key, page[-1].name_key)


def _dependent(session: Session, environment: Environment, names: list[_Name]) -> wire.Dependent:
    query = _building_on(names).where(EnvironmentVersion.environment_id == environment.id)
    specifiers = {version: specifier for _, version, specifier in session.execute(query)}
    newest = newest_first(specifiers)[0]
    return wire.Dependent(
        ref=environments.full_name(environment), version=newest, specifier=specifiers[newest]
    )


def _building_on(names: list[_Name]) -> Select[UUID, str, str]:
    """Return the query for published versions that need an environment of one of these names.

    Its columns: whose version it is, which one, and what range it needs.
    """
    needed = tuple_(VersionDependency.org_key, VersionDependency.name_key)
    return (
        select(
            EnvironmentVersion.environment_id,
            EnvironmentVersion.version,
            VersionDependency.specifier,
        )
        .join(VersionDependency, VersionDependency.version_id == EnvironmentVersion.id)
        .where(
            needed.in_(names),
            EnvironmentVersion.state == VersionState.PUBLISHED,
            EnvironmentVersion.deleted_at.is_(None),
        )
    )


def _names(session: Session, environment: Environment) -> list[_Name]:
    """Return what an environment is called and was called, folded."""
    former = session.execute(
        select(Org.name_key, EnvironmentRedirect.name_key)
        .join(Org, Org.id == EnvironmentRedirect.org_id)
        .where(EnvironmentRedirect.environment_id == environment.id)
    )
    return [
        (environment.org.name_key, environment.name_key),
        *((org_key, name_key) for org_key, name_key in former),
    ]


def _uses(session: Session, version: EnvironmentVersion) -> dict[str, int]:
    """Return how often a version was used in each way, in all."""
    rows = session.execute(
        select(VersionUse.kind, func.sum(VersionUse.count))
        .where(VersionUse.version_id == version.id)
        .group_by(VersionUse.kind)
        .order_by(VersionUse.kind)
    )
    return {kind: int(count) for kind, count in rows}
