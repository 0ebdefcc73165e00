"""Who am I; orgs, their people, projects and keys."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, status

from freesolo.domain.rates import KeyLimits
from freesolo.domain.roles import Role
from freesolo.schemas import accounts as wire
from hub_server.accounts import keys, members, orgs, projects
from hub_server.dependencies import (
    AnyMember,
    DbReader,
    DbSession,
    Now,
    OrgAdmin,
    OrgReader,
    OrgsAdmin,
    OrgsReader,
    RunReader,
    RunWriter,
    Settings,
)
from hub_server.models import Membership, Org, Project

router = APIRouter(prefix="/v1", tags=["accounts"])


@router.get("/whoami")
async def whoami(member: AnyMember, settings: Settings) -> wire.WhoAmI:
    """Return the org, role and scopes of the key, and where the gateway is."""
    return wire.WhoAmI(
        org=member.org,
        role=member.role,
        user=member.user,
        key_name=member.key_name,
        scopes=sorted(member.scopes),
        gateway_url=settings.gateway_url,
    )


@router.get("/orgs")
def list_orgs(member: OrgsReader, session: DbReader) -> wire.OrgList:
    """List the orgs that the key may act in."""
    return wire.OrgList(
        orgs=[_org(org, member.roles[org.id]) for org in orgs.list_orgs(session, member)]
    )


@router.post("/orgs", status_code=status.HTTP_201_CREATED)
def create_org(new: wire.NewOrg, member: OrgsAdmin, session: DbSession, now: Now) -> wire.Org:
    """Make an org; the person who asks becomes its owner."""
    return _org(orgs.create(session, member, new.slug, now=now), Role.OWNER)


@router.get("/orgs/{org}")
def show_org(org: str, member: OrgsReader, session: DbReader, settings: Settings) -> wire.OrgDetail:
    """Show one of the key's orgs: how much it keeps, and how much it may."""
    return orgs.show(session, member, org, settings.quota)


@router.get("/members")
def list_members(member: OrgReader, session: DbReader) -> wire.MemberList:
    """List who belongs to the org, and as what."""
    return wire.MemberList(
        members=[_member(each) for each in members.list_members(session, member)]
    )


@router.post("/members", status_code=status.HTTP_201_CREATED)
def add_member(
    new: wire.NewMember, member: OrgAdmin, session: DbSession, now: Now
) -> wire.OrgMember:
    """Let a person into the org; a handle that is new to the hub is made known to it."""
    return _member(members.add(session, member, new.handle, new.role, now=now))


@router.put("/members/{handle}")
def set_role(
    handle: str, new: wire.NewRole, member: OrgAdmin, session: DbSession, now: Now
) -> wire.OrgMember:
    """Give a person of the org another role."""
    return _member(members.set_role(session, member, handle, new.role, now=now))


@router.delete("/members/{handle}", status_code=status.HTTP_204_NO_CONTENT)
def remove_member(handle: str, member: OrgAdmin, session: DbSession, now: Now) -> None:
    """Take a person out of the org. Their keys to it stop working at once."""
    members.remove(session, member, handle, now=now)


@router.get("/projects")
def list_projects(member: RunReader, session: DbReader) -> wire.ProjectList:
    """List the projects of the org."""
    return wire.ProjectList(
        projects=[_project(project) for project in projects.list_projects(session, member)]
    )


@router.post("/projects", status_code=status.HTTP_201_CREATED)
def create_project(
    new: wire.NewProject, member: RunWriter, session: DbSession, now: Now
) -> wire.Project:
    """Make a project; one that exists is returned as it is."""
    return _project(projects.create(session, member, new.slug, now=now))


@router.get("/keys")
def list_keys(
    member: OrgReader,
    session: DbReader,
    everything: Annotated[bool, Query(alias="all", description="Also revoked ones.")] = False,
) -> wire.KeyList:
    """List the org's keys for its admins, and for others their own; never a secret."""
    found = keys.list_keys(session, member, everything=everything)
    return wire.KeyList(keys=[owned.view() for owned in found])


@router.post("/keys", status_code=status.HTTP_201_CREATED)
def create_key(new: wire.NewKey, member: OrgAdmin, session: DbSession, now: Now) -> wire.CreatedKey:
    """Make a key, which can do no more than the one that asks. It is shown this once."""
    owned, secret = keys.create(session, member, new, now=now)
    return wire.CreatedKey(**owned.view().model_dump(), api_key=secret)


@router.put("/keys/{key_id}/limits")
def limit_key(
    key_id: UUID, limits: KeyLimits, member: OrgAdmin, session: DbSession, now: Now
) -> wire.Key:
    """Say how much a key may ask of the gateway in a minute; what is left out is as the hub has it."""
    return keys.limit(session, member, key_id, limits, now=now).view()


@router.delete("/keys/{key_id}", status_code=status.HTTP_204_NO_CONTENT)
def revoke_key(key_id: UUID, member: OrgAdmin, session: DbSession, now: Now) -> None:
    """Make a key useless from now on."""
    keys.revoke(session, member, key_id, now=now)


def _org(org: Org, role: Role) -> wire.Org:
    return wire.Org(slug=org.slug, role=role, created_at=org.created_at)


def _member(membership: Membership) -> wire.OrgMember:
    return wire.OrgMember(
        handle=membership.user.handle, role=membership.role, since=membership.created_at
    )


def _project(project: Project) -> wire.Project:
    return wire.Project(id=project.id, slug=project.slug, created_at=project.created_at)
