"""Who may read an environment, publish to it, decide about it."""

from fastapi import APIRouter, status

from freesolo.domain.refs import EnvRef
from freesolo.schemas import access as wire
from hub_server.access import service
from hub_server.accounts.service import find_user
from hub_server.dependencies import DbReader, DbSession, EnvironmentAdmin, EnvironmentReader, Now

router = APIRouter(prefix="/v1/envs/{org}/{name}", tags=["access"])


@router.get("/access")
def show_access(org: str, name: str, member: EnvironmentReader, session: DbReader) -> wire.Access:
    """Show an environment's visibility and the roles that were given on it; for its admins."""
    return service.show(
        session, service.administered(session, member, EnvRef(org, name), lock=False)
    )


@router.put("/visibility")
def set_visibility(
    org: str,
    name: str,
    new: wire.NewVisibility,
    member: EnvironmentAdmin,
    session: DbSession,
    now: Now,
) -> wire.Access:
    """Say who may read an environment besides its org: nobody, every key, or everybody."""
    environment = service.administered(session, member, EnvRef(org, name))
    service.set_visibility(session, member, environment, new.visibility, now=now)
    return service.show(session, environment)


@router.put("/access/users/{handle}")
def grant_to_user(  # noqa: PLR0913  each is one of FastAPI's inputs
    org: str,
    name: str,
    handle: str,
    new: wire.NewGrant,
    member: EnvironmentAdmin,
    session: DbSession,
    now: Now,
) -> wire.Access:
    """Give a person a role on an environment, in place of the one they had on it."""
    environment = service.administered(session, member, EnvRef(org, name))
    user = find_user(session, handle)
    service.grant(session, member, environment, user, new.role, now=now)
    return service.show(session, environment)


@router.delete("/access/users/{handle}", status_code=status.HTTP_204_NO_CONTENT)
def revoke_from_user(
    org: str, name: str, handle: str, member: EnvironmentAdmin, session: DbSession, now: Now
) -> None:
    """Take back what a person was given on an environment."""
    environment = service.administered(session, member, EnvRef(org, name))
    service.revoke(session, member, environment, find_user(session, handle), now=now)


@router.put("/access/orgs/{slug}")
def grant_to_org(  # noqa: PLR0913  each is one of FastAPI's inputs
    org: str,
    name: str,
    slug: str,
    new: wire.NewGrant,
    member: EnvironmentAdmin,
    session: DbSession,
    now: Now,
) -> wire.Access:
    """Give everybody in another org a role on an environment."""
    environment = service.administered(session, member, EnvRef(org, name))
    grantee = service.find_org(session, environment, slug)
    service.grant(session, member, environment, grantee, new.role, now=now)
    return service.show(session, environment)


@router.delete("/access/orgs/{slug}", status_code=status.HTTP_204_NO_CONTENT)
def revoke_from_org(
    org: str, name: str, slug: str, member: EnvironmentAdmin, session: DbSession, now: Now
) -> None:
    """Take back what an org was given on an environment."""
    environment = service.administered(session, member, EnvRef(org, name))
    grantee = service.find_org(session, environment, slug)
    service.revoke(session, member, environment, grantee, now=now)
