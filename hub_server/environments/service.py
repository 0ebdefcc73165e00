"""Environments: who may see which, and which version a reference means."""

from collections.abc import Iterator, Sequence
from uuid import UUID

from packaging.utils import canonicalize_version
from packaging.version import InvalidVersion, Version
from sqlalchemy import ColumnElement, Select, and_, func, or_, select, true
from sqlalchemy.orm import Session, contains_eager, joinedload

from freesolo.domain.names import confusable_key
from freesolo.domain.refs import EnvRef, Selector, SelectorKind, normalized_name
from freesolo.domain.roles import (
    EnvironmentRole,
    Visibility,
    effective_role,
    may,
    pattern_allows,
)
from freesolo.domain.selection import choose_version, newest_first
from freesolo.domain.suggest import did_you_mean
from freesolo.errors import (
    EnvironmentNotFound,
    Forbidden,
    InvalidInput,
    NameTaken,
    VersionNotFound,
    VersionTombstoned,
)
from freesolo.schemas import environments as wire
from hub_server.accounts.service import Member
from hub_server.models import (
    Channel,
    Environment,
    EnvironmentGrant,
    EnvironmentRedirect,
    EnvironmentVersion,
    Org,
    VersionState,
)
from hub_server.paging import decode_cursor, encode_cursor

# Of a version as it is sent; the one form it is stored in may be a little longer.
_MAX_VERSION_LENGTH = 90
# How many names are looked at for the one that was meant.
_MAX_SUGGESTED = 1000


def find(
    session: Session,
    visitor: Member | None,
    ref: EnvRef,
    *,
    need: EnvironmentRole = EnvironmentRole.READER,
    deleted: bool = False,
    lock: bool = False,
) -> Environment:
    """Return the environment that a reference names, by its name or one it once had.

    `visitor` is None for whoever has no key. What they may not read does not exist; `Forbidden` if
    they may read it but not do what is needed. One that was deleted is found only with `deleted`.
    With `lock`, whoever else changes it is waited for: ask for it before changing anything.
    """
    environment = named(session, ref, lock=lock)
    role = role_in(session, visitor, environment) if environment else None
    if environment is None or role is None or (environment.deleted_at and not deleted):
        raise _environment_not_found(session, visitor, ref)
    require_role(visitor, environment, role, need=need)
    return environment


def named(session: Session, ref: EnvRef, *, lock: bool = False) -> Environment | None:
    """Return what has this name, or once had it, whoever asks; with `lock`, held against others."""
    org_key, name_key = normalized_name(ref.org), normalized_name(ref.name)
    query = select(Environment).join(Environment.org).options(contains_eager(Environment.org))
    if lock:
        # A row that was renamed while we waited for it no longer fits, and is found below.
        query = query.with_for_update(of=Environment).execution_options(populate_existing=True)
    by_name = query.where(Org.name_key == org_key, Environment.name_key == name_key)
    if environment := session.scalars(by_name).one_or_none():
        return environment
    formerly = (
        select(EnvironmentRedirect.environment_id)
        .join(Org, Org.id == EnvironmentRedirect.org_id)
        .where(Org.name_key == org_key, EnvironmentRedirect.name_key == name_key)
    )
    return session.scalars(query.where(Environment.id.in_(formerly))).one_or_none()


def require_role(
    visitor: Member | None,
    environment: Environment,
    role: EnvironmentRole,
    *,
    need: EnvironmentRole,
) -> None:
    """Raise `Forbidden` unless `role`, which the visitor has in the environment, is enough."""
    if not may(role, need):
        actor = repr(visitor.actor) if visitor else "Whoever has no key"
        raise Forbidden(
            f"{actor} is {role.value} of {full_name(environment)}; this takes {need.value}.",
            hint=f"An admin of {environment.org.slug} can grant it.",
        )


def lock_names(session: Session, org: Org) -> None:
    """Wait for whoever else gives out a name in this org; ask before any environment is locked."""
    # The weaker lock lets others refer to the org meanwhile.
    session.execute(select(Org.id).where(Org.id == org.id).with_for_update(key_share=True))


def check_free(
    session: Session, org: Org, name: str, *, besides: Environment | None = None
) -> None:
    """Raise `NameTaken` if a name leads, or looks as if it led, to an environment of `org`.

    `besides` is the one that is to have the name. The org's names must be locked.
    """
    name_key = normalized_name(name)
    looks_like = select(Environment).where(
        Environment.org_id == org.id,
        or_(
            Environment.name_key == name_key,
            Environment.confusable_key == confusable_key(name),
        ),
    )
    for rival in session.scalars(looks_like):
        if besides is None or rival.id != besides.id:
            raise NameTaken(
                f"{org.slug}/{name} is too much like {org.slug}/{rival.name}.",
                hint="Choose a name that nobody mistakes for it.",
            )
    redirect = session.get(EnvironmentRedirect, (org.id, name_key))
    if redirect and (besides is None or redirect.environment_id != besides.id):
        raise NameTaken(
            f"{org.slug}/{name} leads to an environment that had this name before.",
            hint="Old names lead to it for ever; choose another.",
        )


def role_in(
    session: Session, visitor: Member | None, environment: Environment
) -> EnvironmentRole | None:
    """Return what `visitor` is in an environment; `environment.org` must be loaded.

    A key that is confined to other environments counts as no key here.
    """
    if visitor and not pattern_allows(visitor.patterns, full_name(environment)):
        visitor = None
    if visitor is None:
        return effective_role(environment.visibility, signed_in=False)
    return effective_role(
        environment.visibility,
        org_role=visitor.roles.get(environment.org_id),
        grants=_grants(session, visitor, environment.id),
        signed_in=True,
    )


def readable(visitor: Member | None) -> ColumnElement[bool]:
    """Return the condition for environments, joined with their orgs, that `visitor` may read."""
    public = Environment.visibility == Visibility.PUBLIC
    if visitor is None:
        return public
    granted = select(EnvironmentGrant.environment_id).where(_given_to(visitor))
    allowed = or_(
        Environment.visibility == Visibility.INTERNAL,
        Environment.org_id.in_(visitor.roles),
        Environment.id.in_(granted),
    )
    return or_(public, and_(allowed, inside(visitor.patterns)))


def resolve(
    session: Session, visitor: Member | None, ref: EnvRef
) -> tuple[Environment, EnvironmentVersion]:
    """Return the one version that a reference means; raise with the nearest valid name if none."""
    environment = find(session, visitor, ref)
    staged = may_see_staged(session, visitor, environment)
    return environment, require_chosen(session, environment, ref.selector, staged=staged)


def require_chosen(
    session: Session, environment: Environment, selector: Selector, *, staged: bool = False
) -> EnvironmentVersion:
    """Return what a selector means, as `chosen` does; raise `VersionNotFound` if it means nothing."""
    version = chosen(session, environment, selector, staged=staged)
    if version is None:
        raise _version_not_found(session, environment, selector)
    return version


def chosen(
    session: Session, environment: Environment, selector: Selector, *, staged: bool = False
) -> EnvironmentVersion | None:
    """Return what a selector means in an environment, or None.

    An exact version and a digest mean what was yanked too, and with `staged` what is still staged;
    the newest release and ranges never do. A channel means what its own selector does.
    """
    match selector.kind:
        case SelectorKind.LATEST:
            latest = environment.latest_version
            if not latest or Version(latest).is_prerelease:
                return None
            return version_named(session, environment, latest)
        case SelectorKind.EXACT:
            version = version_named(session, environment, selector.text)
            return version if version and (staged or _is_published(version)) else None
        case SelectorKind.DIGEST:
            return _with_digest(session, environment, selector.text, staged=staged)
        case SelectorKind.RANGE:
            return _in_range(session, environment, selector)
        case SelectorKind.CHANNEL:
            channel = session.get(Channel, (environment.id, selector.text))
            if channel is None:
                return None
            return chosen(session, environment, Selector.parse(channel.selector))


def version_named(
    session: Session, environment: Environment, version: str
) -> EnvironmentVersion | None:
    """Return the version with this number, whatever its state.

    Raise `VersionTombstoned` if it was deleted.
    """
    found = session.scalars(
        select(EnvironmentVersion).where(
            EnvironmentVersion.environment_id == environment.id,
            EnvironmentVersion.version_key == version_key(version),
        )
    ).one_or_none()
    if found is not None and found.deleted_at is not None:
        raise VersionTombstoned(
            f"{full_name(environment)} {found.version} was deleted, and its number with it.",
            hint="The number of a deleted version is never given again; use another.",
        )
    return found


def require_version(session: Session, environment: Environment, version: str) -> EnvironmentVersion:
    """Return the version with this number; raise `VersionNotFound` or `VersionTombstoned` if none."""
    found = version_named(session, environment, version)
    if found is None:
        selector = Selector(SelectorKind.EXACT, version)
        raise _version_not_found(session, environment, selector)
    return found


def versions_of(environment: Environment) -> Select[EnvironmentVersion]:
    """Return the query for the versions of an environment that were not deleted."""
    return select(EnvironmentVersion).where(
        EnvironmentVersion.environment_id == environment.id, EnvironmentVersion.deleted_at.is_(None)
    )


def published_versions(
    session: Session, environment: Environment, *, staged: bool = False
) -> list[EnvironmentVersion]:
    """Return what everybody who may read the environment may see, the newest first.

    With `staged`, what its writers may see.
    """
    found = session.scalars(versions_of(environment))
    versions = {version.version: version for version in found if staged or _is_published(version)}
    return [versions[text] for text in newest_first(versions)]


def deleted_versions(session: Session, environment: Environment) -> list[str]:
    """Return the versions of an environment that were deleted, the newest first."""
    found = session.scalars(
        select(EnvironmentVersion.version).where(
            EnvironmentVersion.environment_id == environment.id,
            EnvironmentVersion.deleted_at.is_not(None),
        )
    )
    return newest_first(found)


def may_see_staged(session: Session, visitor: Member | None, environment: Environment) -> bool:
    """Say whether versions that are still staged are for this visitor."""
    return may(role_in(session, visitor, environment), EnvironmentRole.WRITER)


def standing(session: Session, environment: Environment) -> dict[str, str]:
    """Return the tree digests of the versions that a range may choose."""
    rows = session.execute(
        versions_of(environment)
        .where(EnvironmentVersion.state == VersionState.PUBLISHED)
        .where(EnvironmentVersion.yanked_at.is_(None))
        .with_only_columns(EnvironmentVersion.version, EnvironmentVersion.tree_digest)
    )
    return {row.version: row.tree_digest for row in rows}


def latest_of(session: Session, environment: Environment) -> str:
    """Return the newest release that may be chosen, or the newest pre-release, or ''."""
    versions = standing(session, environment)
    newest = choose_version(Selector(SelectorKind.LATEST), versions)
    return newest or next(iter(newest_first(versions)), "")


def list_environments(
    session: Session, visitor: Member | None, *, cursor: str | None, limit: int
) -> tuple[Sequence[Environment], str | None]:
    """Return a page of the environments of the visitor's org, by name, and the next page's cursor."""
    query = (
        select(Environment)
        .join(Environment.org)
        .options(joinedload(Environment.org))
        .where(readable(visitor), Environment.deleted_at.is_(None))
        .where(Environment.org_id.in_(visitor.orgs_meant) if visitor else true())
    )
    if cursor is not None:
        query = query.where(comes_after(cursor))
    ordered = query.order_by(Org.name_key, Environment.name_key)
    found = session.scalars(ordered.limit(limit + 1)).all()
    page = found[:limit]
    if len(found) <= limit:
        return page, None
    return page, encode_cursor(page[-1].org.name_key, page[-1].name_key)


def comes_after(cursor: str) -> ColumnElement[bool]:
    """Return the condition for environments, joined with their orgs, after a cursor by name."""
    org, name = decode_cursor(cursor, parts=2)
    return or_(Org.name_key > org, and_(Org.name_key == org, Environment.name_key > name))


def full_name(environment: Environment) -> str:
    """Return `org/name` as they are written; `environment.org` must be loaded."""
    return f"{environment.org.slug}/{environment.name}"


def pin(environment: Environment, version: EnvironmentVersion) -> wire.ResolvedVersion:
    """Return what binds a run, or a reader, to exactly this version."""
    return wire.ResolvedVersion(
        ref=full_name(environment),
        version=version.version,
        tree_digest=version.tree_digest,
        archive_digest=version.archive_digest,
        size=version.size,
        yanked=version.yanked_at is not None,
        yank_reason=version.yank_reason,
        deprecation=environment.deprecation,
        successor=environment.successor,
    )


def canonical_version(version: str) -> str:
    """Return a version in the one form it is stored in; raise `InvalidInput` if it is none."""
    try:
        if len(version) <= _MAX_VERSION_LENGTH:
            return str(Version(version))
    except InvalidVersion:
        pass
    raise InvalidInput(
        f"{version!r} is not a version.",
        hint=f"Write a PEP 440 version such as 0.1.0, in at most {_MAX_VERSION_LENGTH} characters.",
    )


def version_key(version: str) -> str:
    """Return what is equal for versions that no reference could tell apart: 1.0 and 1.0.0."""
    return canonicalize_version(Version(version), strip_trailing_zero=True)


def _grants(session: Session, visitor: Member, environment_id: UUID) -> Iterator[EnvironmentRole]:
    yield from session.scalars(
        select(EnvironmentGrant.role).where(
            EnvironmentGrant.environment_id == environment_id, _given_to(visitor)
        )
    )


def _given_to(visitor: Member) -> ColumnElement[bool]:
    """Return the condition for what was granted to the visitor or their orgs.

    A person's key to one org, which its admins may make, has only what that org granted to them.
    """
    to_org = EnvironmentGrant.org_id.in_(visitor.roles)
    if visitor.user_id is None:
        return to_org
    to_person = EnvironmentGrant.user_id == visitor.user_id
    if not visitor.all_orgs:
        in_org = select(Environment.id).where(Environment.org_id == visitor.org_id)
        to_person = and_(to_person, EnvironmentGrant.environment_id.in_(in_org))
    return or_(to_org, to_person)


def inside(patterns: Sequence[str]) -> ColumnElement[bool]:
    """Return the condition for environments that match one of a key's patterns."""
    name = func.lower(Org.slug + "/" + Environment.name)
    likes = [name.like(_like(pattern.lower()), escape="\\") for pattern in patterns]
    return or_(*likes) if likes else true()


def _like(pattern: str) -> str:
    return pattern.replace("_", "\\_").replace("*", "%").replace("?", "_")


def _is_published(version: EnvironmentVersion) -> bool:
    return version.state is VersionState.PUBLISHED


def _with_digest(
    session: Session, environment: Environment, digest: str, *, staged: bool
) -> EnvironmentVersion | None:
    found = session.scalars(
        versions_of(environment).where(EnvironmentVersion.tree_digest == digest)
    )
    versions = {v.version: v for v in found if staged or _is_published(v)}
    not_yanked = {text: v for text, v in versions.items() if v.yanked_at is None}
    best = newest_first(not_yanked or versions)
    return versions[best[0]] if best else None


def _in_range(
    session: Session, environment: Environment, selector: Selector
) -> EnvironmentVersion | None:
    best = choose_version(selector, standing(session, environment))
    return None if best is None else version_named(session, environment, best)


def _environment_not_found(
    session: Session, visitor: Member | None, ref: EnvRef
) -> EnvironmentNotFound:
    return EnvironmentNotFound(
        f"There is no environment {ref.full_name!r}.",
        hint=_nearest_environment(session, visitor, ref) or "`freesolo publish` makes one.",
    )


def _nearest_environment(session: Session, visitor: Member | None, ref: EnvRef) -> str | None:
    if visitor is None:
        return None
    names = session.execute(
        select(Org.slug, Environment.name)
        .join(Environment.org)
        .where(readable(visitor), Environment.deleted_at.is_(None))
        .where(Environment.org_id.in_(visitor.orgs_meant))
        .limit(_MAX_SUGGESTED)
    )
    return did_you_mean(ref.full_name, [f"{slug}/{name}" for slug, name in names])


def _version_not_found(
    session: Session, environment: Environment, selector: Selector
) -> VersionNotFound:
    name, wanted = full_name(environment), selector.text or "release"
    published = [version.version for version in published_versions(session, environment)]
    if not published:
        hint = "Nothing is published yet."
    elif selector.kind is SelectorKind.LATEST:
        hint = f"It has no release that stands; ask for one: `{name}@{published[0]}`."
    else:
        hint = did_you_mean(wanted, published) or f"The newest is {published[0]}."
    return VersionNotFound(f"{name} has no version {wanted!r}.", hint=hint)
