"""Orgs: make one, list one's own, look at one."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from freesolo.domain.names import check_new_name
from freesolo.domain.refs import normalized_name
from freesolo.domain.roles import Role
from freesolo.errors import Conflict, Forbidden, OrgNotFound
from freesolo.schemas import accounts as wire
from freesolo.schemas.audit import Action
from hub_server.accounts import quotas
from hub_server.accounts.quotas import Quota
from hub_server.accounts.service import Member, claim_org
from hub_server.audit import service as audit
from hub_server.models import Membership, Org


def list_orgs(session: Session, member: Member) -> Sequence[Org]:
    """Return the orgs that a key may act in, by name."""
    return session.scalars(select(Org).where(Org.id.in_(member.roles)).order_by(Org.name_key)).all()


def create(session: Session, member: Member, slug: str, *, now: datetime) -> Org:
    """Make an org; the person who asks becomes its owner."""
    check_new_name(slug, "org")
    if member.user_id is None or not member.all_orgs:
        raise Forbidden(
            f"The key {member.key_name!r} is bound to {member.org}; making an org takes a person's "
            "key for all their orgs.",
            hint="Whoever operates the hub makes one: `python -m hub_server create-key --user`.",
        )
    if member.most is not Role.OWNER:
        raise Forbidden(
            f"The key {member.key_name!r} may be {member.most.value} at most, and whoever makes an "
            "org is its owner."
        )
    member.require_unconfined("a new org's environments are none of them")
    org, created = claim_org(session, slug, now=now)
    if not created:
        raise Conflict(f"There is an org {org.slug!r} already.", hint="Choose another name.")
    session.add(Membership(org_id=org.id, user_id=member.user_id, role=Role.OWNER, created_at=now))
    audit.record(session, member, Action.ORG_CREATED, target=org.slug, now=now, org_id=org.id)
    return org


def show(session: Session, member: Member, slug: str, quota: Quota) -> wire.OrgDetail:
    """Return one of the key's orgs, with what it keeps."""
    org = _own(session, member, slug)
    members = select(func.count()).where(Membership.org_id == org.id)
    return wire.OrgDetail(
        slug=org.slug,
        role=member.roles[org.id],
        created_at=org.created_at,
        members=session.execute(members).scalar_one(),
        environments=quotas.environments_usage(session, org, quota),
        storage_bytes=quotas.storage_usage(session, org, quota),
    )


def _own(session: Session, member: Member, slug: str) -> Org:
    org = session.scalars(
        select(Org).where(Org.name_key == normalized_name(slug), Org.id.in_(member.roles))
    ).one_or_none()
    if org is None:
        raise OrgNotFound(
            f"This key belongs to no org {slug!r}.", hint="`freesolo orgs list` shows its orgs."
        )
    return org
