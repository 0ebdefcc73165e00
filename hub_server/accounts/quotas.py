"""How much an org may keep, and how much it does."""

from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from freesolo.domain.refs import normalized_name
from freesolo.errors import QuotaExceeded
from freesolo.schemas.accounts import Usage
from hub_server.models import Environment, EnvironmentVersion, Org


@dataclass(frozen=True)
class Quota:
    """The most that an org may keep; None is no limit. An org's own limits go before the hub's."""

    storage_bytes: int | None = None
    environments: int | None = None

    def of(self, org: Org) -> "Quota":
        """Return what holds for an org where `self` holds for all."""
        return Quota(
            _first(org.max_storage_bytes, self.storage_bytes),
            _first(org.max_environments, self.environments),
        )


UNLIMITED = Quota()


def environments_usage(session: Session, org: Org, quota: Quota) -> Usage:
    """Count the environments of an org, without those that were deleted."""
    count = select(func.count()).where(
        Environment.org_id == org.id, Environment.deleted_at.is_(None)
    )
    return Usage(used=session.execute(count).scalar_one(), allowed=quota.of(org).environments)


def storage_usage(session: Session, org: Org, quota: Quota) -> Usage:
    """Add up the archives and wheels of an org's versions, without those that were deleted."""
    size = func.sum(EnvironmentVersion.size + EnvironmentVersion.wheel_size)
    total = (
        select(func.coalesce(size, 0))
        .join(Environment, Environment.id == EnvironmentVersion.environment_id)
        .where(Environment.org_id == org.id, EnvironmentVersion.deleted_at.is_(None))
    )
    return Usage(used=session.execute(total).scalar_one(), allowed=quota.of(org).storage_bytes)


def take_turn(session: Session, slug: str, quota: Quota) -> None:
    """Let who adds to an org where there is a limit pass one after the other.

    Ask before any environment is locked.
    """
    org = session.scalars(select(Org).where(Org.name_key == normalized_name(slug))).one_or_none()
    if org is not None and quota.of(org) != UNLIMITED:
        # The weaker lock lets others refer to the org meanwhile.
        session.execute(select(Org.id).where(Org.id == org.id).with_for_update(key_share=True))


def check_quota(session: Session, org: Org, quota: Quota) -> None:
    """Raise `QuotaExceeded` if an org keeps more than it may, with what was just added."""
    limits = quota.of(org)
    if limits.environments is not None:
        _check(org, environments_usage(session, org, quota), "environments")
    if limits.storage_bytes is not None:
        _check(org, storage_usage(session, org, quota), "bytes")


def _check(org: Org, usage: Usage, what: str) -> None:
    if usage.allowed is not None and usage.used > usage.allowed:
        raise QuotaExceeded(
            f"With this {org.slug} would keep {usage.used} {what}; it may keep {usage.allowed}.",
            hint="Delete what nobody needs, or ask whoever operates the hub for more.",
        )


def _first(own: int | None, common: int | None) -> int | None:
    return common if own is None else own
