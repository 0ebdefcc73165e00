"""Publishing: bytes first, rows last. The commit is the publish; before it nothing can be seen.

No transaction is open while an archive is received, read or stored.
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from uuid import uuid4

from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload, sessionmaker

from freesolo.domain.manifest import MANIFEST_NAME, Manifest
from freesolo.domain.names import check_new_name, confusable_key
from freesolo.domain.refs import EnvRef, normalized_name
from freesolo.domain.roles import EnvironmentRole, Role, pattern_allows
from freesolo.domain.selection import is_newer
from freesolo.errors import EnvironmentNotFound, Forbidden, InvalidInput, InvalidRef, VersionExists
from freesolo.schemas.changes import ChangeKind
from freesolo.schemas.environments import PublishedVersion
from hub_server.accounts.service import Member
from hub_server.blobs import BlobStore
from hub_server.changes.service import Announcement, announce
from hub_server.db import insert_if_absent
from hub_server.environments import service as environments
from hub_server.models import (
    Environment,
    EnvironmentRedirect,
    EnvironmentVersion,
    Org,
    VersionContents,
    VersionDependency,
    VersionState,
)
from hub_server.publishing.package import Package, inspect_package
from hub_server.storage import service as storage


@dataclass(frozen=True)
class Submission:
    """What is to be published: `ref` without a selector, and the version in its stored form.

    A staged version is seen by the environment's writers alone until it is promoted. `tree_digest`
    is what the sender says the archive holds, if they say it.
    """

    ref: EnvRef
    version: str
    staged: bool = False
    tree_digest: str | None = None


@dataclass(frozen=True)
class Received:
    """An archive that has arrived whole on the local disk."""

    path: Path
    digest: str


@dataclass(frozen=True)
class Publication:
    """A version as it stands after a publish, and whether this publish made it."""

    environment: Environment
    version: EnvironmentVersion
    created: bool

    def view(self) -> PublishedVersion:
        """Return the version as it is shown to whoever published it."""
        pinned = environments.pin(self.environment, self.version)
        return PublishedVersion(
            **pinned.model_dump(),
            status="created" if self.created else "unchanged",
            state=self.version.state.value,
            published_at=self.version.published_at,
        )


def check_may_publish(session: Session, member: Member, ref: EnvRef) -> None:
    """Raise unless the member may publish under this name: asked before an archive is received."""
    org = _org(session, ref)
    environment = _existing(session, org, ref) if org else None
    if environment is not None:
        environments.find(session, member, ref, need=EnvironmentRole.WRITER)
        _check_open(environment)
    else:
        _check_may_create(member, org, ref)


def publish(
    sessions: sessionmaker[Session],
    blobs: BlobStore,
    member: Member,
    submission: Submission,
    received: Received,
    *,
    now: datetime,
) -> Publication:
    """Publish an archive that has arrived; versions never change.

    The same tree under the same version is `unchanged`; another tree is `VersionExists`.
    """
    package = inspect_package(received.path, received.digest, submission.ref, submission.version)
    if submission.tree_digest not in (None, package.tree_digest):
        raise InvalidInput(
            f"The archive holds {package.tree_digest}, but {submission.tree_digest} was announced.",
            hint="Pack the folder again and send what was packed.",
        )
    # The row before the bytes and the bytes before the version: whatever is swept or dies between,
    # no version is without its archive.
    storage.keep(sessions, blobs, received.digest, received.path, now=now)
    with sessions.begin() as session:
        return record(session, member, submission, package, now=now)


def record(
    session: Session, member: Member, submission: Submission, package: Package, *, now: datetime
) -> Publication:
    """Write the rows of a version whose bytes are stored."""
    environment = _claim(session, member, submission.ref, now=now)
    existing = _existing_version(session, environment, submission.version)
    if existing is not None:
        _check_same(environment, existing, package)
        return Publication(environment, existing, created=False)
    version = EnvironmentVersion(
        id=uuid4(),
        environment_id=environment.id,
        version=submission.version,
        version_key=environments.version_key(submission.version),
        state=VersionState.STAGED if submission.staged else VersionState.PUBLISHED,
        tree_digest=package.tree_digest,
        archive_digest=package.archive_digest,
        size=package.size,
        unpacked_size=package.unpacked_size,
        file_count=len(package.files),
        requires_python=package.manifest.requires_python,
        environments=list(package.manifest.environments),
        published_by=member.key_id,
        published_at=now,
    )
    session.add(version)
    session.flush()
    session.add(_contents(version, package))
    session.add_all(_dependencies(version))
    if submission.staged:
        kind = ChangeKind.VERSION_STAGED
    else:
        kind = ChangeKind.VERSION_PUBLISHED
        show(environment, version, package.manifest)
    announce(session, member, environment, Announcement(kind, version), now=now)
    return Publication(environment, version, created=True)


def show(environment: Environment, version: EnvironmentVersion, manifest: Manifest) -> None:
    """Let the environment speak through its newest version's manifest."""
    if is_newer(version.version, environment.latest_version):
        environment.latest_version = version.version
        environment.summary = manifest.summary
        environment.license = manifest.license
        environment.tags = list(manifest.tags)


def _claim(session: Session, member: Member, ref: EnvRef, *, now: datetime) -> Environment:
    """Return the environment of this name, made if it is new, locked against other publishers."""
    org = _org(session, ref)
    environment = _existing(session, org, ref) if org else None
    if environment is None:
        environment = _create(session, member, org, ref, now=now)
    environments.find(session, member, ref, need=EnvironmentRole.WRITER)
    environments.lock(session, environment)
    _check_open(environment)
    return environment


def _create(
    session: Session, member: Member, org: Org | None, ref: EnvRef, *, now: datetime
) -> Environment:
    org = _check_may_create(member, org, ref)
    row = {
        "id": uuid4(),
        "org_id": org.id,
        "name": ref.name,
        "name_key": normalized_name(ref.name),
        "confusable_key": confusable_key(ref.name),
        "created_at": now,
        "updated_at": now,
    }
    insert_if_absent(session, Environment, [row])
    environment = _existing(session, org, ref)
    if environment is None:
        raise InvalidRef(
            f"{ref.full_name!r} looks too much like another environment of {org.slug}.",
            hint="Choose a name that nobody mistakes for it.",
        )
    return environment


def _check_may_create(member: Member, org: Org | None, ref: EnvRef) -> Org:
    check_new_name(ref.name, "environment")
    if org is None or org.id not in member.roles:
        raise Forbidden(
            f"The key {member.key_name!r} belongs to {member.org!r} and cannot publish to "
            f"{ref.org!r}.",
            hint=f"Publish as `{member.org}/NAME`.",
        )
    if member.roles[org.id] is Role.READER:
        raise Forbidden(
            f"{member.actor!r} is reader of {org.slug!r}; publishing takes member.",
            hint=f"An owner of {org.slug} can change the role.",
        )
    if not pattern_allows(member.patterns, ref.full_name):
        raise Forbidden(
            f"The key {member.key_name!r} is confined to {', '.join(member.patterns)}.",
            hint="Use a key that may touch this environment.",
        )
    return org


def _org(session: Session, ref: EnvRef) -> Org | None:
    return session.scalars(
        select(Org).where(Org.name_key == normalized_name(ref.org))
    ).one_or_none()


def _existing(session: Session, org: Org, ref: EnvRef) -> Environment | None:
    """Return the environment under this name; a name that leads elsewhere cannot be taken."""
    name_key = normalized_name(ref.name)
    if session.get(EnvironmentRedirect, (org.id, name_key)):
        raise InvalidRef(
            f"{ref.full_name!r} leads to an environment that was renamed or given away.",
            hint="Publish under its present name.",
        )
    return session.scalars(
        select(Environment)
        .where(Environment.org_id == org.id, Environment.name_key == name_key)
        .options(joinedload(Environment.org))
    ).one_or_none()


def _check_open(environment: Environment) -> None:
    name = environments.full_name(environment)
    if environment.deleted_at is not None:
        raise EnvironmentNotFound(
            f"{name} was deleted.", hint=f"`freesolo restore {name}` brings it back."
        )
    if environment.archived_at is not None:
        raise Forbidden(
            f"{name} is archived and takes no new versions.",
            hint=f"`freesolo unarchive {name}` opens it again.",
        )


def _existing_version(
    session: Session, environment: Environment, version: str
) -> EnvironmentVersion | None:
    """Return the version that has this number, also one that was deleted."""
    return session.scalars(
        select(EnvironmentVersion).where(
            EnvironmentVersion.environment_id == environment.id,
            EnvironmentVersion.version_key == environments.version_key(version),
        )
    ).one_or_none()


def _check_same(environment: Environment, existing: EnvironmentVersion, package: Package) -> None:
    if existing.deleted_at is None and existing.tree_digest == package.tree_digest:
        return
    name = environments.full_name(environment)
    raise VersionExists(
        f"{name} {existing.version} is already published as {existing.tree_digest}; what was sent "
        f"is {package.tree_digest}.",
        hint=f"Published versions never change: raise `version` in {MANIFEST_NAME}.",
    )


def _contents(version: EnvironmentVersion, package: Package) -> VersionContents:
    return VersionContents(
        version_id=version.id,
        manifest=package.manifest.model_dump(mode="json"),
        files=[
            {
                "path": file.path,
                "size": file.size,
                "sha256": file.sha256,
                "executable": file.executable,
            }
            for file in package.files
        ],
    )


def _dependencies(version: EnvironmentVersion) -> list[VersionDependency]:
    refs = [EnvRef.parse(text) for text in version.environments]
    return [
        VersionDependency(
            version_id=version.id,
            org_key=normalized_name(ref.org),
            name_key=normalized_name(ref.name),
            specifier=ref.selector.text,
        )
        for ref in {(normalized_name(r.org), normalized_name(r.name)): r for r in refs}.values()
    ]
