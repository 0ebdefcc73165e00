"""Who am I, and the projects of my org."""

from fastapi import APIRouter, status

from freesolo.schemas import accounts as wire
from hub_server.accounts import service
from hub_server.dependencies import (
    AnyMember,
    DbReader,
    DbSession,
    Now,
    RunReader,
    RunWriter,
    Settings,
)
from hub_server.models import Project

router = APIRouter(prefix="/v1", tags=["accounts"])


@router.get("/whoami")
async def whoami(member: AnyMember, settings: Settings) -> wire.WhoAmI:
    """Return the org and scopes of the key, and where the gateway is."""
    return wire.WhoAmI(
        org=member.org,
        role=member.role,
        user=member.user,
        key_name=member.key_name,
        scopes=sorted(member.scopes),
        gateway_url=settings.gateway_url,
    )


@router.get("/projects")
def list_projects(member: RunReader, session: DbReader) -> wire.ProjectList:
    """List the projects of the org."""
    return wire.ProjectList(
        projects=[_project(project) for project in service.list_projects(session, member)]
    )


@router.post("/projects", status_code=status.HTTP_201_CREATED)
def create_project(
    new: wire.NewProject, member: RunWriter, session: DbSession, now: Now
) -> wire.Project:
    """Make a project; one that exists is returned as it is."""
    return _project(service.create_project(session, member, new.slug, now=now))


def _project(project: Project) -> wire.Project:
    return wire.Project(id=project.id, slug=project.slug, created_at=project.created_at)
