"""The people of an org: who belongs to it, as what."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session, joinedload

from freesolo.domain.refs import normalized_name
from freesolo.domain.roles import Role, may_change_role
from freesolo.errors import Conflict, Forbidden, UserNotFound
from freesolo.schemas.audit import Action
from hub_server.accounts.service import Member, ensure_user
from hub_server.audit import service as audit
from hub_server.models import ApiKey, Environment, EnvironmentGrant, Membership, Org, User


def list_members(session: Session, member: Member) -> Sequence[Membership]:
    """Return who belongs to the member's org, by handle."""
    return session.scalars(
        select(Membership)
        .join(Membership.user)
        .where(Membership.org_id == member.org_id)
        .options(joinedload(Membership.user))
        .order_by(User.name_key)
    ).all()


def find(session: Session, by: Member, handle: str) -> Membership:
    """Return what a person is in the member's org; raise `UserNotFound` if they are not in it."""
    membership = _membership(session, by, handle)
    if membership is None:
        raise UserNotFound(
            f"{by.org} has no member {handle!r}.", hint="`freesolo members list` shows them."
        )
    return membership


def add(session: Session, by: Member, handle: str, role: Role, *, now: datetime) -> Membership:
    """Let a person into the org; `Conflict` if they are in it in another role."""
    _check_may(by, None, role)
    _lock(session, by)
    user = ensure_user(session, handle, now=now)
    existing = _membership(session, by, user.handle)
    if existing is not None:
        if existing.role is not role:
            raise Conflict(
                f"{user.handle} is {existing.role.value} of {by.org} already.",
                hint=f"`freesolo members set-role {user.handle} {role.value}` changes it.",
            )
        return existing
    membership = Membership(org_id=by.org_id, user=user, role=role, created_at=now)
    session.add(membership)
    audit.record(session, by, Action.MEMBER_ADDED, target=user.handle, now=now, role=role.value)
    return membership


def set_role(session: Session, by: Member, handle: str, role: Role, *, now: datetime) -> Membership:
    """Give a person of the org another role."""
    _lock(session, by)
    membership = find(session, by, handle)
    if membership.role is role:
        return membership
    before = membership.role
    _check_may(by, before, role)
    _keep_an_owner(session, by, membership)
    membership.role = role
    audit.record(
        session,
        by,
        Action.MEMBER_ROLE_CHANGED,
        target=membership.user.handle,
        now=now,
        role=role.value,
        before=before.value,
    )
    return membership


def remove(session: Session, by: Member, handle: str, *, now: datetime) -> None:
    """Take a person out of the org, with their keys to it and what it had granted to them alone."""
    _lock(session, by)
    membership = find(session, by, handle)
    # Whoever leaves asks nobody; but a key that may do less than its person does not speak for them.
    if membership.user_id != by.user_id or membership.role is not by.role:
        _check_may(by, membership.role, None)
    _keep_an_owner(session, by, membership)
    revoked = session.scalars(
        update(ApiKey)
        .where(
            ApiKey.org_id == by.org_id,
            ApiKey.user_id == membership.user_id,
            ApiKey.revoked_at.is_(None),
        )
        .values(revoked_at=now)
        .returning(ApiKey.prefix)
    ).all()
    session.execute(
        delete(EnvironmentGrant).where(
            EnvironmentGrant.user_id == membership.user_id,
            EnvironmentGrant.environment_id.in_(
                select(Environment.id).where(Environment.org_id == by.org_id)
            ),
        )
    )
    session.delete(membership)
    audit.record(
        session,
        by,
        Action.MEMBER_REMOVED,
        target=membership.user.handle,
        now=now,
        role=membership.role.value,
        keys=[*sorted(revoked)],
    )


def _check_may(by: Member, current: Role | None, new: Role | None) -> None:
    by.require_unconfined("the people of an org reach every environment of it")
    if may_change_role(by.role, current, new):
        return
    needed = Role.OWNER if Role.OWNER in (current, new) else Role.ADMIN
    raise Forbidden(
        f"{by.actor!r} is {by.role.value} of {by.org!r}; this takes {needed.value}.",
        hint=f"An owner of {by.org} can do it.",
    )


def _lock(session: Session, by: Member) -> None:
    """Wait for whoever else changes the people of the org: two owners must not unmake each other."""
    session.execute(select(Org.id).where(Org.id == by.org_id).with_for_update(key_share=True))


def _membership(session: Session, by: Member, handle: str) -> Membership | None:
    return session.scalars(
        select(Membership)
        .join(Membership.user)
        .where(Membership.org_id == by.org_id, User.name_key == normalized_name(handle))
        .options(joinedload(Membership.user))
    ).one_or_none()


def _keep_an_owner(session: Session, by: Member, membership: Membership) -> None:
    """Raise `Conflict` if the org would be without an owner."""
    if membership.role is not Role.OWNER:
        return
    owners = select(func.count()).where(
        Membership.org_id == by.org_id, Membership.role == Role.OWNER
    )
    if session.execute(owners).scalar_one() == 1:
        raise Conflict(
            f"{membership.user.handle} is the last owner of {by.org}.",
            hint="Make somebody else an owner first: `freesolo members set-role HANDLE owner`.",
        )
