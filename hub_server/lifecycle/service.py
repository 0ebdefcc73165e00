"""What becomes of an environment and its versions after they are published.

Every function waits for whoever else changes the environment, does nothing where nothing would
change, and announces what it did.
"""

from datetime import datetime, timedelta

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from freesolo.domain.refs import EnvRef
from freesolo.domain.roles import EnvironmentRole
from freesolo.errors import Conflict, EnvironmentNotFound, InvalidInput, VersionTombstoned
from freesolo.schemas import environments as wire
from freesolo.schemas.accounts import Scope
from freesolo.schemas.changes import ChangeKind
from hub_server.accounts.quotas import Quota, check_quota, take_turn
from hub_server.accounts.service import Member
from hub_server.changes.service import Announcement, announce
from hub_server.environments import service as environments
from hub_server.environments import views
from hub_server.models import (
    Channel,
    Environment,
    EnvironmentVersion,
    VersionContents,
    VersionDependency,
    VersionState,
)
from hub_server.models.base import JsonObject
from hub_server.publishing import service as publishing

# How long a deleted environment can be brought back.
RESTORABLE = timedelta(days=30)


def yank(
    session: Session, member: Member, ref: EnvRef, version: str, reason: str, *, now: datetime
) -> wire.ResolvedVersion:
    """Take a version back: only who names it exactly still gets it, with a warning."""
    environment, found = _published(session, member, ref, version)
    if found.yanked_at is None or found.yank_reason != reason:
        found.yanked_at = found.yanked_at or now
        found.yank_reason = reason
        _no_longer_latest(session, environment, found)
        change = Announcement(ChangeKind.VERSION_YANKED, found, {"reason": reason})
        announce(session, member, environment, change, now=now)
    return environments.pin(environment, found)


def unyank(
    session: Session, member: Member, ref: EnvRef, version: str, *, now: datetime
) -> wire.ResolvedVersion:
    """Let ranges and the newest release mean a version again."""
    environment, found = _published(session, member, ref, version)
    if found.yanked_at is not None:
        found.yanked_at = found.yank_reason = None
        publishing.show(session, environment, found)
        announce(
            session, member, environment, Announcement(ChangeKind.VERSION_UNYANKED, found), now=now
        )
    return environments.pin(environment, found)


def delete_version(
    session: Session, member: Member, ref: EnvRef, version: str, *, now: datetime
) -> None:
    """Remove a version and what was in it for ever; its number is never given again.

    One that is still staged is discarded, and its number is free.
    """
    environment = environments.find(session, member, ref, need=EnvironmentRole.WRITER, lock=True)
    try:
        found = environments.require_version(session, environment, version)
    except VersionTombstoned:
        return
    if found.state is VersionState.STAGED:
        kind = ChangeKind.VERSION_DISCARDED
        session.delete(found)
    else:
        kind = ChangeKind.VERSION_DELETED
        _require_admin(session, member, ref)
        _check_no_channel(session, environment, found)
        bury(session, found, now=now)
        _no_longer_latest(session, environment, found)
    announce(session, member, environment, Announcement(kind, found), now=now)


def bury(session: Session, version: EnvironmentVersion, *, now: datetime) -> None:
    """Forget what was in a version; its row stays, so that its number is never given again."""
    version.deleted_at = now
    for part in (VersionContents, VersionDependency):
        session.execute(delete(part).where(part.version_id == version.id))


def deprecate(
    session: Session,
    member: Member,
    ref: EnvRef,
    deprecation: wire.Deprecation,
    *,
    now: datetime,
) -> wire.EnvironmentSummary:
    """Say that an environment should not be used any more, and what to use instead."""
    environment = _administered(session, member, ref)
    successor = _successor(session, member, environment, deprecation.successor)
    if (environment.deprecation, environment.successor) != (deprecation.message, successor):
        environment.deprecation = deprecation.message
        environment.successor = successor
        data: JsonObject = {"message": deprecation.message, "successor": successor}
        announce(
            session, member, environment, Announcement(ChangeKind.DEPRECATED, data=data), now=now
        )
    return views.summary(environment)


def undeprecate(
    session: Session, member: Member, ref: EnvRef, *, now: datetime
) -> wire.EnvironmentSummary:
    """Take a deprecation back."""
    environment = _administered(session, member, ref)
    if environment.deprecation is not None:
        environment.deprecation = environment.successor = None
        announce(session, member, environment, Announcement(ChangeKind.UNDEPRECATED), now=now)
    return views.summary(environment)


def archive(
    session: Session, member: Member, ref: EnvRef, *, now: datetime
) -> wire.EnvironmentSummary:
    """Close an environment to new versions."""
    environment = _administered(session, member, ref)
    if environment.archived_at is None:
        environment.archived_at = now
        announce(session, member, environment, Announcement(ChangeKind.ARCHIVED), now=now)
    return views.summary(environment)


def unarchive(
    session: Session, member: Member, ref: EnvRef, *, now: datetime
) -> wire.EnvironmentSummary:
    """Open an environment to new versions again."""
    environment = _administered(session, member, ref)
    if environment.archived_at is not None:
        environment.archived_at = None
        announce(session, member, environment, Announcement(ChangeKind.UNARCHIVED), now=now)
    return views.summary(environment)


def delete_environment(
    session: Session, member: Member, ref: EnvRef, *, now: datetime
) -> wire.EnvironmentSummary:
    """Hide an environment from everybody; for a while it can be brought back."""
    environment = _administered(session, member, ref, deleted=True)
    if environment.deleted_at is None:
        environment.deleted_at = now
        announce(session, member, environment, Announcement(ChangeKind.DELETED), now=now)
    return views.summary(environment)


def restore(
    session: Session, member: Member, ref: EnvRef, quota: Quota, *, now: datetime
) -> wire.EnvironmentSummary:
    """Bring a deleted environment back. Raise `EnvironmentNotFound` if that is too long ago.

    Raise `QuotaExceeded` if its org would keep more than it may.
    """
    org = environments.find(session, member, ref, need=EnvironmentRole.ADMIN, deleted=True).org
    take_turn(session, org.slug, quota)
    environment = _administered(session, member, ref, deleted=True)
    if environment.deleted_at is not None:
        if environment.deleted_at <= now - RESTORABLE:
            raise EnvironmentNotFound(
                f"{environments.full_name(environment)} was deleted more than {RESTORABLE.days} "
                "days ago."
            )
        environment.deleted_at = None
        session.flush()
        check_quota(session, environment.org, quota)
        announce(session, member, environment, Announcement(ChangeKind.RESTORED), now=now)
    return views.summary(environment)


def forget_deleted(session: Session, *, now: datetime) -> None:
    """Bury the versions of environments that can no longer be restored."""
    versions = (
        select(EnvironmentVersion)
        .join(Environment, Environment.id == EnvironmentVersion.environment_id)
        .where(Environment.deleted_at <= now - RESTORABLE, EnvironmentVersion.deleted_at.is_(None))
    )
    for version in session.scalars(versions):
        bury(session, version, now=now)


def _published(
    session: Session, member: Member, ref: EnvRef, version: str
) -> tuple[Environment, EnvironmentVersion]:
    environment = environments.find(session, member, ref, need=EnvironmentRole.WRITER, lock=True)
    found = environments.require_version(session, environment, version)
    if found.state is VersionState.STAGED:
        name = f"{environments.full_name(environment)}@{found.version}"
        raise Conflict(
            f"{name} is staged: nobody has got it yet.",
            hint=f"`freesolo delete {name}` discards it, `freesolo promote {name}` publishes it.",
        )
    return environment, found


def _administered(
    session: Session, member: Member, ref: EnvRef, *, deleted: bool = False
) -> Environment:
    return environments.find(
        session, member, ref, need=EnvironmentRole.ADMIN, deleted=deleted, lock=True
    )


def _require_admin(session: Session, member: Member, ref: EnvRef) -> None:
    member.require(Scope.ENVIRONMENTS_ADMIN)
    environments.find(session, member, ref, need=EnvironmentRole.ADMIN)


def _no_longer_latest(
    session: Session, environment: Environment, version: EnvironmentVersion
) -> None:
    if environment.latest_version == version.version:
        publishing.show_newest(session, environment)


def _check_no_channel(
    session: Session, environment: Environment, version: EnvironmentVersion
) -> None:
    channel = session.scalars(
        select(Channel).where(
            Channel.environment_id == environment.id, Channel.selector == version.version
        )
    ).first()
    if channel is not None:
        name = environments.full_name(environment)
        raise Conflict(
            f"The channel {channel.name!r} of {name} stands at {version.version}.",
            hint=f"Move it first: `freesolo tag {name}@VERSION {channel.name}`.",
        )


def _successor(
    session: Session, member: Member, environment: Environment, text: str | None
) -> str | None:
    if text is None:
        return None
    successor = environments.find(session, member, EnvRef.parse(text))
    if successor.id == environment.id:
        raise InvalidInput(f"{text!r} cannot be its own successor.")
    return environments.full_name(successor)
