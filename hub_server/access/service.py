"""Access to one environment: its visibility, and the roles that people and orgs were given on it."""

from datetime import datetime

from pydantic import JsonValue
from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from freesolo.domain.refs import EnvRef, normalized_name
from freesolo.domain.roles import EnvironmentRole, Visibility
from freesolo.errors import InvalidInput, OrgNotFound
from freesolo.schemas import access as wire
from freesolo.schemas.changes import ChangeKind
from hub_server.accounts.service import Member
from hub_server.changes.service import Announcement, announce
from hub_server.environments import service as environments
from hub_server.models import Environment, EnvironmentGrant, Org, User

# A person, or everybody in an org.
Grantee = User | Org


def administered(
    session: Session, member: Member, ref: EnvRef, *, lock: bool = True
) -> Environment:
    """Return an environment that the member decides about; with `lock`, held against others."""
    return environments.find(session, member, ref, need=EnvironmentRole.ADMIN, lock=lock)


def show(session: Session, environment: Environment) -> wire.Access:
    """Return who has been given what on an environment, besides the people of its org."""
    of_environment = EnvironmentGrant.environment_id == environment.id
    users = session.execute(
        select(User.handle, EnvironmentGrant.role, EnvironmentGrant.created_at)
        .join(User, User.id == EnvironmentGrant.user_id)
        .where(of_environment)
        .order_by(User.name_key)
    )
    orgs = session.execute(
        select(Org.slug, EnvironmentGrant.role, EnvironmentGrant.created_at)
        .join(Org, Org.id == EnvironmentGrant.org_id)
        .where(of_environment)
        .order_by(Org.name_key)
    )
    return wire.Access(
        ref=environments.full_name(environment),
        visibility=environment.visibility,
        users=[wire.UserGrant(handle=of, role=role, since=at) for of, role, at in users],
        orgs=[wire.OrgGrant(org=of, role=role, since=at) for of, role, at in orgs],
    )


def set_visibility(
    session: Session,
    member: Member,
    environment: Environment,
    visibility: Visibility,
    *,
    now: datetime,
) -> None:
    """Say who may read an environment besides those who have a role in it."""
    before = environment.visibility
    if visibility is before:
        return
    environment.visibility = visibility
    said = Announcement(
        ChangeKind.VISIBILITY_CHANGED,
        data={"visibility": visibility.value, "before": before.value},
    )
    announce(session, member, environment, said, now=now)


def find_org(session: Session, environment: Environment, slug: str) -> Org:
    """Return the org with this slug, if an environment can be shared with it."""
    org = session.scalars(select(Org).where(Org.name_key == normalized_name(slug))).one_or_none()
    if org is None:
        raise OrgNotFound(f"There is no org {slug!r}.")
    if org.id == environment.org_id:
        raise InvalidInput(
            f"{environments.full_name(environment)} belongs to {org.slug} already.",
            hint="`freesolo members set-role` says what its people may do.",
        )
    return org


def grant(
    session: Session,
    member: Member,
    environment: Environment,
    grantee: Grantee,
    role: EnvironmentRole,
    *,
    now: datetime,
) -> None:
    """Give a person or an org a role on an environment, in place of the one they had."""
    given = _given(session, environment, grantee)
    if given is not None and given.role is role:
        return
    if given is not None:
        given.role = role
    else:
        session.add(
            EnvironmentGrant(
                environment_id=environment.id,
                user_id=grantee.id if isinstance(grantee, User) else None,
                org_id=grantee.id if isinstance(grantee, Org) else None,
                role=role,
                created_at=now,
            )
        )
    data = _described(grantee) | {"role": role.value}
    announce(
        session, member, environment, Announcement(ChangeKind.ACCESS_GRANTED, data=data), now=now
    )


def revoke(
    session: Session,
    member: Member,
    environment: Environment,
    grantee: Grantee,
    *,
    now: datetime,
) -> None:
    """Take back what a person or an org was given, if anything."""
    given = _given(session, environment, grantee)
    if given is None:
        return
    session.delete(given)
    said = Announcement(ChangeKind.ACCESS_REVOKED, data=_described(grantee))
    announce(session, member, environment, said, now=now)


def _given(session: Session, environment: Environment, grantee: Grantee) -> EnvironmentGrant | None:
    return session.scalars(
        select(EnvironmentGrant).where(
            EnvironmentGrant.environment_id == environment.id, _to(grantee)
        )
    ).one_or_none()


def _to(grantee: Grantee) -> ColumnElement[bool]:
    if isinstance(grantee, User):
        return EnvironmentGrant.user_id == grantee.id
    return EnvironmentGrant.org_id == grantee.id


def _described(grantee: Grantee) -> dict[str, JsonValue]:
    return {"user": grantee.handle} if isinstance(grantee, User) else {"org": grantee.slug}
