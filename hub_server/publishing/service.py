"""Publishing: bytes first, rows last. The commit is the publish; before it nothing can be seen.

No transaction is open while an archive is received, read or stored.
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from uuid import uuid4

from pydantic import JsonValue, TypeAdapter
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from freesolo.domain.manifest import MANIFEST_NAME, Manifest
from freesolo.domain.names import check_new_name, confusable_key
from freesolo.domain.refs import EnvRef, normalized_name
from freesolo.domain.roles import EnvironmentRole, Role, pattern_allows
from freesolo.domain.selection import is_newer
from freesolo.domain.tree import TreeFile, tree_changes
from freesolo.errors import EnvironmentNotFound, Forbidden, InvalidInput, NameTaken, VersionExists
from freesolo.schemas.changes import ChangeKind
from freesolo.schemas.checks import CheckReport
from freesolo.schemas.environments import PublishedVersion
from hub_server.accounts.quotas import Quota, check_quota, take_turn
from hub_server.accounts.service import Member
from hub_server.blobs import BlobStore
from hub_server.changes.service import Announcement, announce
from hub_server.contents.description import Description, described
from hub_server.environments import service as environments
from hub_server.models import (
    Environment,
    EnvironmentVersion,
    Org,
    VersionContents,
    VersionDependency,
    VersionState,
)
from hub_server.publishing.package import Package, inspect_package
from hub_server.publishing.receipts import receipt_for
from hub_server.signing import Signer
from hub_server.storage import service as storage

_FILES = TypeAdapter(tuple[TreeFile, ...])


@dataclass(frozen=True)
class Press:
    """What the hub publishes with: where rows and bytes go, what an org may keep, who signs."""

    sessions: sessionmaker[Session]
    blobs: BlobStore
    quota: Quota
    signer: Signer


@dataclass(frozen=True)
class Submission:
    """What is to be published, and by whom: `version` is in its stored form.

    A staged version is seen by the environment's writers alone until it is promoted. `tree_digest`
    is what the sender says the archive holds, and `checks` what `validate` said of it, if they say so.
    """

    by: Member
    ref: EnvRef
    version: str
    staged: bool = False
    tree_digest: str | None = None
    checks: CheckReport | None = None


@dataclass(frozen=True)
class Received:
    """An archive that has arrived whole on the local disk."""

    path: Path
    digest: str


def check_may_publish(session: Session, member: Member, ref: EnvRef) -> None:
    """Raise unless the member may publish under this name: asked before an archive is received."""
    if _target(session, member, ref) is None:
        _may_create(session, member, ref)


def publish(
    press: Press, submission: Submission, received: Received, *, now: datetime
) -> PublishedVersion:
    """Publish an archive that has arrived; versions never change.

    The same tree under the same version is `unchanged`; another tree is `VersionExists`.
    """
    package = inspect_package(received.path, received.digest, submission.ref, submission.version)
    if submission.tree_digest not in (None, package.tree_digest):
        raise InvalidInput(
            f"The archive holds {package.tree_digest}, but {submission.tree_digest} was announced.",
            hint="Pack the folder again and send what was packed.",
        )
    with described(
        received.path, press.blobs.staging, ref=submission.ref, manifest=package.manifest
    ) as made:
        # The row before the bytes and the bytes before the version: whatever is swept or dies
        # between, no version is without its archive and its wheel.
        files = {received.digest: received.path, made.wheel.digest: made.wheel_path}
        storage.keep(press.sessions, press.blobs, files, now=now)
        with press.sessions.begin() as session:
            return record(session, press, submission, package, made, now=now)


def record(
    session: Session,
    press: Press,
    submission: Submission,
    package: Package,
    description: Description,
    *,
    now: datetime,
) -> PublishedVersion:
    """Write the rows of a version whose bytes are stored."""
    take_turn(session, submission.ref.org, press.quota)
    environment = _claim(session, submission.by, submission.ref, now=now)
    existing = environments.version_named(session, environment, submission.version)
    if existing is not None:
        _check_same(session, environment, existing, package)
        if not submission.staged:
            _bring_forth(session, press.signer, submission.by, environment, existing, now=now)
        return _view(environment, existing, created=False)
    version = _row(environment, submission, package, description, now=now)
    session.add(version)
    session.flush()
    check_quota(session, environment.org, press.quota)
    session.add(_contents(version, package, description, submission.checks))
    session.add_all(_dependencies(version))
    session.flush()
    if submission.staged:
        kind = ChangeKind.VERSION_STAGED
    else:
        kind = ChangeKind.VERSION_PUBLISHED
        show(session, environment, version)
    data: dict[str, JsonValue] | None = {"forced": True} if _was_forced(submission) else None
    announcement = Announcement(kind, version, data)
    change = announce(session, submission.by, environment, announcement, now=now)
    version.receipt = receipt_for(press.signer, environment, version, change)
    return _view(environment, version, created=True)


def promote(
    session: Session, signer: Signer, member: Member, ref: EnvRef, version: str, *, now: datetime
) -> PublishedVersion:
    """Show a staged version to everybody who may read the environment."""
    environment = environments.find(session, member, ref, need=EnvironmentRole.WRITER, lock=True)
    check_open(environment)
    staged = environments.require_version(session, environment, version)
    shown = _bring_forth(session, signer, member, environment, staged, now=now)
    return _view(environment, staged, created=shown)


def _bring_forth(
    session: Session,
    signer: Signer,
    member: Member,
    environment: Environment,
    version: EnvironmentVersion,
    *,
    now: datetime,
) -> bool:
    """Publish a version that is still staged; say whether it was."""
    if version.state is VersionState.PUBLISHED:
        return False
    version.state = VersionState.PUBLISHED
    version.published_at = now
    show(session, environment, version)
    announcement = Announcement(ChangeKind.VERSION_PUBLISHED, version)
    change = announce(session, member, environment, announcement, now=now)
    version.receipt = receipt_for(signer, environment, version, change)
    return True


def show(session: Session, environment: Environment, version: EnvironmentVersion) -> None:
    """Let the environment speak through this version if none that stands is newer."""
    if is_newer(version.version, environment.latest_version):
        _speak_through(session, environment, version)


def show_newest(session: Session, environment: Environment) -> None:
    """Let the environment speak through its newest version that stands; it lost the one before."""
    latest = environments.latest_of(session, environment)
    version = environments.version_named(session, environment, latest) if latest else None
    if version is None:
        environment.latest_version = ""
    else:
        _speak_through(session, environment, version)


def check_open(environment: Environment) -> None:
    """Raise unless the environment takes new versions."""
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


def _speak_through(session: Session, environment: Environment, version: EnvironmentVersion) -> None:
    contents = session.get_one(VersionContents, version.id)
    manifest = Manifest.model_validate(contents.manifest)
    environment.latest_version = version.version
    environment.summary = manifest.summary
    environment.license = manifest.license
    environment.tags = list(manifest.tags)
    environment.turn_type = contents.turn_type


def _view(
    environment: Environment, version: EnvironmentVersion, *, created: bool
) -> PublishedVersion:
    """Return a version as it is shown to whoever published it."""
    pinned = environments.pin(environment, version)
    return PublishedVersion(
        **pinned.model_dump(),
        status="created" if created else "unchanged",
        state=version.state.value,
        published_at=version.published_at,
    )


def _claim(session: Session, member: Member, ref: EnvRef, *, now: datetime) -> Environment:
    """Return the environment of this name, made if it is new, locked against other publishers."""
    environment = _target(session, member, ref, lock=True)
    return environment or _create(session, member, ref, now=now)


def _target(
    session: Session, member: Member, ref: EnvRef, *, lock: bool = False
) -> Environment | None:
    """Return the environment that a version is added to, or None if the member knows of none."""
    environment = environments.named(session, ref, lock=lock)
    role = environments.role_in(session, member, environment) if environment else None
    if environment is None or role is None:
        return None
    environments.require_role(member, environment, role, need=EnvironmentRole.WRITER)
    check_open(environment)
    _check_present_name(environment, ref)
    return environment


def _create(session: Session, member: Member, ref: EnvRef, *, now: datetime) -> Environment:
    org = _may_create(session, member, ref)
    environments.lock_names(session, org)
    if made_meanwhile := _target(session, member, ref, lock=True):
        return made_meanwhile
    environments.check_free(session, org, ref.name)
    environment = Environment(
        id=uuid4(),
        org=org,
        name=ref.name,
        name_key=normalized_name(ref.name),
        confusable_key=confusable_key(ref.name),
        created_at=now,
        updated_at=now,
    )
    session.add(environment)
    session.flush()
    return environment


def _may_create(session: Session, member: Member, ref: EnvRef) -> Org:
    """Return the org in which the member may make an environment of this name.

    The refusal is the same where there is one that they may not know of.
    """
    check_new_name(ref.name, "environment")
    org = session.scalars(select(Org).where(Org.name_key == normalized_name(ref.org))).one_or_none()
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


def _check_present_name(environment: Environment, ref: EnvRef) -> None:
    present = (environment.org.name_key, environment.name_key)
    if present != (normalized_name(ref.org), normalized_name(ref.name)):
        name = environments.full_name(environment)
        raise NameTaken(
            f"{ref.full_name} is {name} now.",
            hint=f"Change `name` in {MANIFEST_NAME}, and publish to {name}.",
        )


def _check_same(
    session: Session, environment: Environment, existing: EnvironmentVersion, package: Package
) -> None:
    if existing.tree_digest == package.tree_digest:
        return
    name = f"{environments.full_name(environment)} {existing.version}"
    contents = session.get_one(VersionContents, existing.id)
    raise VersionExists(
        f"{name} is already published as {existing.tree_digest}; what was sent is "
        f"{package.tree_digest}.",
        hint=f"Published versions never change: raise `version` in {MANIFEST_NAME}.",
        problems=tree_changes(_FILES.validate_python(contents.files), package.files),
    )


def _row(
    environment: Environment,
    submission: Submission,
    package: Package,
    description: Description,
    *,
    now: datetime,
) -> EnvironmentVersion:
    return EnvironmentVersion(
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
        distribution=str(description.wheel.distribution),
        wheel_digest=description.wheel.digest,
        wheel_size=description.wheel.size,
        wheel_metadata_digest=description.wheel.metadata_digest,
        published_by=submission.by.key_id,
        published_at=now,
    )


def _was_forced(submission: Submission) -> bool:
    return submission.checks is not None and submission.checks.forced


def _contents(
    version: EnvironmentVersion,
    package: Package,
    description: Description,
    checks: CheckReport | None,
) -> VersionContents:
    return VersionContents(
        version_id=version.id,
        manifest=package.manifest.model_dump(mode="json"),
        turn_type=package.turn_type,
        files=_FILES.dump_python(package.files, mode="json"),
        wheel_metadata=description.wheel.metadata.decode(),
        readme_html=description.readme_html,
        dataset=description.dataset.model_dump(mode="json"),
        checks=checks.model_dump(mode="json") if checks else {},
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
