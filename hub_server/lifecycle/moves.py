"""New names for environments, in their org or in another; old names lead to them for ever."""

from datetime import datetime

from sqlalchemy import delete, or_, select
from sqlalchemy.orm import Session, contains_eager, joinedload

from freesolo.domain.names import check_new_name, confusable_key
from freesolo.domain.refs import EnvRef, normalized_name
from freesolo.domain.roles import EnvironmentRole, Role, includes, pattern_allows
from freesolo.errors import Conflict, Forbidden, InvalidInput, NotFound, OrgNotFound
from freesolo.schemas import environments as wire
from freesolo.schemas.changes import ChangeKind
from hub_server.accounts.quotas import Quota, check_quota
from hub_server.accounts.service import Member
from hub_server.changes.service import Announcement, announce
from hub_server.environments import service as environments
from hub_server.environments import views
from hub_server.models import (
    Environment,
    EnvironmentGrant,
    EnvironmentRedirect,
    EnvironmentTransfer,
    Membership,
    Org,
)
from hub_server.paging import encode_cursor


def rename(
    session: Session, member: Member, ref: EnvRef, name: str, *, now: datetime
) -> wire.EnvironmentSummary:
    """Give an environment another name in its org. Raise `NameTaken` if it cannot have that."""
    check_new_name(name, "environment")
    org = _own(session, member, ref).org
    environments.lock_names(session, org)
    environment = _own(session, member, ref, lock=True)
    if environment.org_id != org.id:
        raise Conflict(f"{ref.full_name} was given to {environment.org.slug} meanwhile.")
    if environment.name != name:
        _check_inside(member, f"{org.slug}/{name}")
        environments.check_free(session, org, name, besides=environment)
        before = environments.full_name(environment)
        _give_name(session, environment, org, name, now=now)
        change = Announcement(ChangeKind.RENAMED, data={"before": before})
        announce(session, member, environment, change, now=now)
    return views.summary(environment)


def offer(
    session: Session, member: Member, ref: EnvRef, slug: str, *, now: datetime
) -> wire.Transfer:
    """Offer an environment to another org, whose admins may accept it."""
    environment = _own(session, member, ref, lock=True)
    org = session.scalars(select(Org).where(Org.name_key == normalized_name(slug))).one_or_none()
    if org is None:
        raise OrgNotFound(f"There is no org {slug!r}.")
    if org.id == environment.org_id:
        raise InvalidInput(f"{environments.full_name(environment)} belongs to {org.slug} already.")
    standing = session.get(EnvironmentTransfer, environment.id)
    if standing is None or standing.to_org_id != org.id:
        standing = standing or EnvironmentTransfer(environment_id=environment.id)
        standing.to_org_id = org.id
        standing.offered_by = member.actor
        standing.offered_at = now
        session.add(standing)
        change = Announcement(ChangeKind.TRANSFER_OFFERED, data={"to": org.slug})
        announce(session, member, environment, change, now=now)
    return _shown(environment, org, standing)


def offered_to(
    session: Session, member: Member, *, cursor: str | None, limit: int
) -> wire.TransferList:
    """Return a page of what the member may accept, by name."""
    query = (
        select(EnvironmentTransfer, Environment)
        .join(Environment, Environment.id == EnvironmentTransfer.environment_id)
        .join(Environment.org)
        .options(contains_eager(Environment.org), joinedload(EnvironmentTransfer.to_org))
        .where(EnvironmentTransfer.to_org_id.in_(member.orgs_meant))
    )
    if cursor is not None:
        query = query.where(environments.comes_after(cursor))
    ordered = query.order_by(Org.name_key, Environment.name_key).limit(limit + 1)
    found = [(environment, offered) for offered, environment in session.execute(ordered)]
    page = found[:limit]
    last = page[-1][0] if len(found) > limit else None
    return wire.TransferList(
        transfers=[
            _shown(environment, offered.to_org, offered)
            for environment, offered in page
            if _may_take(member, environment, offered)
        ],
        next_cursor=encode_cursor(last.org.name_key, last.name_key) if last else None,
    )


def accept(
    session: Session, member: Member, ref: EnvRef, quota: Quota, *, now: datetime
) -> wire.EnvironmentSummary:
    """Take over an environment that was offered to an org which the member is admin of.

    What was granted to the people of the org that gives it away ends. Raise `QuotaExceeded` if the
    other would keep more than it may.
    """
    _, org = _offered(session, member, ref)
    environments.lock_names(session, org)
    environment, org = _offered(session, member, ref, lock=True)
    giver, before = environment.org, environments.full_name(environment)
    environments.check_free(session, org, environment.name, besides=environment)
    _give_name(session, environment, org, environment.name, now=now)
    session.flush()
    check_quota(session, org, quota)
    environment.project_id = None
    _end_grants(session, environment, giver)
    _end_offer(session, environment)
    change = Announcement(ChangeKind.TRANSFERRED, data={"before": before})
    announce(session, member, environment, change, now=now)
    return views.summary(environment)


def decline(session: Session, member: Member, ref: EnvRef, *, now: datetime) -> None:
    """End an offer: as an admin of the org that got it, or of the environment."""
    environment = environments.named(session, ref, lock=True)
    offered = _offer_of(session, environment) if environment else None
    if environment is None or offered is None or not _may_take(member, environment, offered):
        environment = environments.find(session, member, ref, need=EnvironmentRole.ADMIN)
    if offered is not None:
        _end_offer(session, environment)
        announce(session, member, environment, Announcement(ChangeKind.TRANSFER_DECLINED), now=now)


def _own(session: Session, member: Member, ref: EnvRef, *, lock: bool = False) -> Environment:
    """Return an environment whose name is the member's to give, and not only its content."""
    environment = environments.find(session, member, ref, need=EnvironmentRole.ADMIN, lock=lock)
    if environment.org_id not in member.roles:
        raise Forbidden(
            f"{environments.full_name(environment)} belongs to {environment.org.slug!r}, "
            f"and {member.actor!r} does not.",
            hint=f"Ask an admin of {environment.org.slug}.",
        )
    return environment


def _check_inside(member: Member, name: str) -> None:
    """Raise `Forbidden` if a key is confined to environments that have other names."""
    if not pattern_allows(member.patterns, name):
        member.require_unconfined(f"{name} is none of them")


def _give_name(
    session: Session, environment: Environment, org: Org, name: str, *, now: datetime
) -> None:
    """Write the new name and let the old one lead to it; the org's names must be locked."""
    before = (environment.org_id, environment.name_key)
    after = (org.id, normalized_name(name))
    environment.org = org
    environment.name = name
    environment.name_key = after[1]
    environment.confusable_key = confusable_key(name)
    if after == before:
        return
    # It may go back to a name it had.
    if redirect := session.get(EnvironmentRedirect, after):
        session.delete(redirect)
    session.add(
        EnvironmentRedirect(
            org_id=before[0], name_key=before[1], environment_id=environment.id, created_at=now
        )
    )


def _offered(
    session: Session, member: Member, ref: EnvRef, *, lock: bool = False
) -> tuple[Environment, Org]:
    """Return what was offered to an org of the member's, and that org; else it does not exist."""
    environment = environments.named(session, ref, lock=lock)
    offered = _offer_of(session, environment) if environment else None
    if environment is None or offered is None or not _may_take(member, environment, offered):
        environment = environments.find(session, member, ref)
        name = environments.full_name(environment)
        raise NotFound(
            f"{name} is not offered to an org that you are admin of.",
            hint=f"An admin of {environment.org.slug} offers it: `freesolo transfer {name} ORG`.",
        )
    return environment, offered.to_org


def _offer_of(session: Session, environment: Environment) -> EnvironmentTransfer | None:
    return session.scalars(
        select(EnvironmentTransfer)
        .where(EnvironmentTransfer.environment_id == environment.id)
        .options(joinedload(EnvironmentTransfer.to_org))
        .execution_options(populate_existing=True)
    ).one_or_none()


def _may_take(member: Member, environment: Environment, offered: EnvironmentTransfer) -> bool:
    role = member.roles.get(offered.to_org_id)
    return (
        environment.deleted_at is None
        and role is not None
        and includes(role, Role.ADMIN)
        and pattern_allows(member.patterns, f"{offered.to_org.slug}/{environment.name}")
    )


def _shown(environment: Environment, org: Org, offered: EnvironmentTransfer) -> wire.Transfer:
    return wire.Transfer(
        ref=environments.full_name(environment),
        to_org=org.slug,
        offered_by=offered.offered_by,
        offered_at=offered.offered_at,
    )


def _end_offer(session: Session, environment: Environment) -> None:
    session.execute(
        delete(EnvironmentTransfer).where(EnvironmentTransfer.environment_id == environment.id)
    )


def _end_grants(session: Session, environment: Environment, giver: Org) -> None:
    """Take back what was granted to the giver's people; also to the new owner, who needs none."""
    of_giver = select(Membership.user_id).where(Membership.org_id == giver.id)
    session.execute(
        delete(EnvironmentGrant).where(
            EnvironmentGrant.environment_id == environment.id,
            or_(
                EnvironmentGrant.user_id.in_(of_giver),
                EnvironmentGrant.org_id.in_([giver.id, environment.org_id]),
            ),
        )
    )
