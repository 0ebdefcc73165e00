"""Secrets of a project: set, listed by name, removed. No answer holds a value."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Query, status

from freesolo.domain.secrets import SecretName
from freesolo.schemas import secrets as wire
from hub_server.dependencies import DbReader, DbSession, FromHub, Now, RunWriter, SecretReader
from hub_server.models import ProjectSecret
from hub_server.secrets import service

router = APIRouter(prefix="/v1/secrets", tags=["secrets"])

Name = Annotated[SecretName, Path(alias="secret", description="As environments declare it.")]
Project = Annotated[
    UUID | None, Query(description="Id of the project; by default the org's `default`.")
]


@router.get("")
def list_secrets(
    member: SecretReader, session: DbReader, project: Project = None
) -> wire.SecretList:
    """List the names of a project's secrets, and who set each when."""
    found = service.list_secrets(session, member, project)
    return wire.SecretList(secrets=[_view(secret) for secret in found])


@router.put("/{secret}")
def set_secret(  # noqa: PLR0913  each is one of FastAPI's inputs
    name: Name,
    new: wire.NewSecret,
    member: RunWriter,
    session: DbSession,
    resources: FromHub,
    now: Now,
    project: Project = None,
) -> wire.StoredSecret:
    """Store a secret for the runs of a project, in place of the one with this name."""
    secret = service.store(
        session,
        member,
        service.Slot(project, name),
        new.value.get_secret_value(),
        vault=resources.vault,
        now=now,
    )
    return _view(secret)


@router.delete("/{secret}", status_code=status.HTTP_204_NO_CONTENT)
def remove_secret(
    name: Name, member: RunWriter, session: DbSession, now: Now, project: Project = None
) -> None:
    """Remove a project's secret. Attempts at runs that begin from now on lack it."""
    service.remove(session, member, service.Slot(project, name), now=now)


def _view(secret: ProjectSecret) -> wire.StoredSecret:
    return wire.StoredSecret.model_validate(secret, from_attributes=True)
