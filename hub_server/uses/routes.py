"""How often an environment is used."""

from fastapi import APIRouter

from freesolo.domain.refs import EnvRef
from freesolo.schemas import uses as wire
from hub_server.dependencies import DbReader, Now, Visitor
from hub_server.uses import service

router = APIRouter(prefix="/v1/envs", tags=["environments"])


@router.get("/{org}/{name}/uses")
def show_uses(
    org: str, name: str, visitor: Visitor, session: DbReader, now: Now
) -> wire.EnvironmentUses:
    """Show how often each version was downloaded and trained on, day by day, for 90 days."""
    return service.uses_of(session, visitor, EnvRef(org, name), today=now.date())
