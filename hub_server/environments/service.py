"""Publish, resolve and list environments. The hub reads archives; it never runs what they hold."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from uuid import uuid4

from packaging.version import InvalidVersion, Version
from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from freesolo.domain.manifest import MANIFEST_NAME, Manifest, parse_manifest
from freesolo.domain.packaging import ENVIRONMENT_LIMITS
from freesolo.domain.refs import EnvRef, Selector, SelectorKind, check_name, normalized_name
from freesolo.domain.selection import choose_version, newest_first
from freesolo.domain.suggest import did_you_mean
from freesolo.errors import (
    EnvironmentNotFound,
    Forbidden,
    InvalidEnvironment,
    InvalidInput,
    InvalidManifest,
    VersionExists,
    VersionNotFound,
)
from freesolo.package.archive import inspect_archive
from freesolo.schemas.environments import ResolvedVersion
from hub_server.accounts.service import Member
from hub_server.db import insert_if_absent
from hub_server.models import Environment, EnvironmentVersion
from hub_server.paging import decode_cursor, encode_cursor

_ENTRY_POINT = "environment.py"
# Of a version as it is sent; the one form it is stored in may be a little longer.
_MAX_VERSION_LENGTH = 90


@dataclass(frozen=True)
class Package:
    """An archive that was found good for publishing under `name` and `version`."""

    name: str
    version: str
    summary: str
    tree_digest: str
    archive_digest: str
    size: int


@dataclass(frozen=True)
class Published:
    """A version as it stands after a publish, and whether this publish made it."""

    environment: Environment
    version: EnvironmentVersion
    created: bool


def inspect_package(archive: Path, archive_digest: str, *, name: str, version: str) -> Package:
    """Read an archive and check it against the name and version it is to be published under."""
    check_name(name, "environment")
    version = canonical_version(version)
    contents = inspect_archive(archive, ENVIRONMENT_LIMITS, keep=[MANIFEST_NAME])
    if all(file.path != _ENTRY_POINT for file in contents.files):
        raise InvalidEnvironment(f"The archive has no {_ENTRY_POINT} at its root.")
    summary = ""
    if manifest_bytes := contents.kept.get(MANIFEST_NAME):
        manifest = _read_manifest(manifest_bytes)
        _check_agreement(manifest, name, version)
        summary = manifest.summary
    return Package(
        name=name,
        version=version,
        summary=summary,
        tree_digest=contents.tree_digest,
        archive_digest=archive_digest,
        size=archive.stat().st_size,
    )


def publish(session: Session, member: Member, package: Package, *, now: datetime) -> Published:
    """Record a version whose archive is stored; versions never change.

    The same tree under the same version is returned as it is; another tree is `VersionExists`.
    """
    environment = _claim_name(session, member, package.name, now=now)
    versions = _versions(session, environment)
    # 1.0 and 1.0.0 are one version, written twice: no reference could tell them apart.
    wanted = Version(package.version)
    existing = next((v for v in versions if Version(v.version) == wanted), None)
    if existing is not None:
        if existing.tree_digest != package.tree_digest:
            raise _version_exists(member, package, existing)
        return Published(environment, existing, created=False)
    version = EnvironmentVersion(
        environment_id=environment.id,
        version=package.version,
        tree_digest=package.tree_digest,
        archive_digest=package.archive_digest,
        size=package.size,
        published_by=member.key_id,
        published_at=now,
    )
    session.add(version)
    environment.updated_at = now
    environment.latest_version = _latest([*versions, version])
    if environment.latest_version == package.version:
        environment.summary = package.summary
    return Published(environment, version, created=True)


def resolve(
    session: Session, member: Member, ref: EnvRef
) -> tuple[Environment, EnvironmentVersion]:
    """Return the one version that a reference means; raise with the nearest valid name if none."""
    environment = find(session, member, ref)
    versions = {version.version: version for version in _versions(session, environment)}
    digests = {text: version.tree_digest for text, version in versions.items()}
    chosen = choose_version(ref.selector, digests)
    if chosen is None:
        raise _version_not_found(ref, environment, list(versions))
    return environment, versions[chosen]


def find(session: Session, member: Member, ref: EnvRef) -> Environment:
    """Return the environment that a reference names. Those of other orgs do not exist."""
    environment = None
    if normalized_name(ref.org) == normalized_name(member.org):
        environment = session.scalars(_named(member, ref.name)).one_or_none()
    if environment is None:
        raise EnvironmentNotFound(
            f"There is no environment {ref.full_name!r}.",
            hint=_nearest_environment(session, member, ref) or "`freesolo publish` makes one.",
        )
    return environment


def list_environments(
    session: Session, member: Member, *, cursor: str | None, limit: int
) -> tuple[Sequence[Environment], str | None]:
    """Return a page of the org's environments, by name, and the cursor of the next."""
    query = select(Environment).where(Environment.org_id == member.org_id)
    if cursor is not None:
        (after,) = decode_cursor(cursor, parts=1)
        query = query.where(Environment.name_key > after)
    found = session.scalars(query.order_by(Environment.name_key).limit(limit + 1)).all()
    page = found[:limit]
    more = len(found) > limit
    return page, encode_cursor(page[-1].name_key) if more else None


def history(
    session: Session, member: Member, ref: EnvRef
) -> tuple[Environment, list[EnvironmentVersion]]:
    """Return an environment and its versions, the newest first."""
    environment = find(session, member, ref)
    versions = {version.version: version for version in _versions(session, environment)}
    return environment, [versions[text] for text in newest_first(versions)]


def pin(member: Member, environment: Environment, version: EnvironmentVersion) -> ResolvedVersion:
    """Return what binds a run, or a reader, to exactly this version."""
    return ResolvedVersion(
        ref=f"{member.org}/{environment.name}",
        version=version.version,
        tree_digest=version.tree_digest,
        archive_digest=version.archive_digest,
        size=version.size,
    )


def require_own_org(member: Member, org: str) -> None:
    """Raise `Forbidden` unless the member may publish under `org`."""
    if normalized_name(org) != normalized_name(member.org):
        raise Forbidden(
            f"The key {member.key_name!r} belongs to {member.org!r} and cannot publish to {org!r}.",
            hint=f"Publish as `{member.org}/NAME`.",
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


def _claim_name(session: Session, member: Member, name: str, *, now: datetime) -> Environment:
    """Return the environment of this name, made if it is new, locked against other publishers."""
    row = {
        "id": uuid4(),
        "org_id": member.org_id,
        "name": name,
        "name_key": normalized_name(name),
        "created_at": now,
        "updated_at": now,
    }
    insert_if_absent(session, Environment, [row])
    return session.scalars(_named(member, name).with_for_update()).one()


def _named(member: Member, name: str) -> Select[Environment]:
    return select(Environment).where(
        Environment.org_id == member.org_id, Environment.name_key == normalized_name(name)
    )


def _versions(session: Session, environment: Environment) -> Sequence[EnvironmentVersion]:
    return session.scalars(
        select(EnvironmentVersion).where(EnvironmentVersion.environment_id == environment.id)
    ).all()


def _latest(versions: Sequence[EnvironmentVersion]) -> str:
    """Return the newest release, or the newest pre-release while there is nothing else."""
    digests = {version.version: version.tree_digest for version in versions}
    return choose_version(Selector(SelectorKind.LATEST), digests) or newest_first(digests)[0]


def _read_manifest(raw: bytes) -> Manifest:
    try:
        return parse_manifest(raw.decode())
    except UnicodeDecodeError:
        raise InvalidManifest(f"{MANIFEST_NAME} is not UTF-8 text.") from None


def _check_agreement(manifest: Manifest, name: str, version: str) -> None:
    for what, written, asked in (
        ("name", normalized_name(manifest.name), normalized_name(name)),
        ("version", manifest.version, version),
    ):
        if written != asked:
            raise InvalidManifest(
                f"{MANIFEST_NAME} says {what} {written!r}, but it is published as {asked!r}.",
                hint=f"Change `{what}` in {MANIFEST_NAME}, or publish under what it says.",
            )


def _version_exists(
    member: Member, package: Package, existing: EnvironmentVersion
) -> VersionExists:
    return VersionExists(
        f"{member.org}/{package.name} {existing.version} is already published as "
        f"{existing.tree_digest}; what was sent is {package.tree_digest}.",
        hint=f"Published versions never change: raise `version` in {MANIFEST_NAME}.",
    )


def _version_not_found(
    ref: EnvRef, environment: Environment, versions: Sequence[str]
) -> VersionNotFound:
    wanted = ref.selector.text or "release"
    if ref.selector.kind is SelectorKind.LATEST:
        newest = newest_first(versions)[0]
        hint = f"It has only pre-releases; ask for one: `{ref.full_name}@{newest}`."
    else:
        hint = did_you_mean(wanted, versions) or f"The newest is {environment.latest_version}."
    return VersionNotFound(f"{ref.full_name} has no version {wanted!r}.", hint=hint)


def _nearest_environment(session: Session, member: Member, ref: EnvRef) -> str | None:
    names = session.scalars(select(Environment.name).where(Environment.org_id == member.org_id))
    return did_you_mean(ref.full_name, [f"{member.org}/{name}" for name in names])
