"""Deployments: ask for one, follow it, withdraw it."""

from typing import Annotated

from fastapi import APIRouter, Query, status

from freesolo.domain.refs import AdapterRef
from freesolo.schemas import deployments as wire
from hub_server.accounts.service import Repeatable, once
from hub_server.base_models.service import catalog_of
from hub_server.dependencies import (
    Catalog,
    DbReader,
    DbSession,
    DeploymentReader,
    DeploymentWriter,
    IdempotencyKey,
    Now,
)
from hub_server.deployments import service

router = APIRouter(prefix="/v1", tags=["deployments"])


@router.post("/deployments", status_code=status.HTTP_201_CREATED)
def create_deployment(
    new: wire.NewDeployment,
    member: DeploymentWriter,
    session: DbSession,
    catalog: Catalog,
    now: Now,
    idempotency_key: IdempotencyKey = None,
) -> wire.Deployment:
    """Ask for an adapter to be served; a gateway stages, loads and smoke-tests it first."""

    def deploy() -> str:
        adapter = service.find_adapter(session, member, AdapterRef.parse(new.adapter))
        models = catalog_of(session, member.org_id, catalog)
        return service.deploy(session, member, adapter, catalog=models, now=now).id

    request = Repeatable.of(idempotency_key, "create_deployment", new)
    deployment_id = once(session, member, request, now=now, create=deploy)
    return service.deployment_view(service.find(session, member, deployment_id))


@router.get("/deployments")
def list_deployments(
    member: DeploymentReader,
    session: DbReader,
    everything: Annotated[
        bool, Query(alias="all", description="Also what failed or was withdrawn.")
    ] = False,
) -> wire.DeploymentList:
    """List what is live or coming, newest first."""
    found = service.list_deployments(session, member, everything=everything)
    return wire.DeploymentList(deployments=[service.deployment_view(each) for each in found])


@router.get("/deployments/{deployment_id}")
def show_deployment(
    deployment_id: str, member: DeploymentReader, session: DbReader
) -> wire.Deployment:
    """Show one deployment."""
    return service.deployment_view(service.find(session, member, deployment_id))


@router.delete("/deployments/{model}", status_code=status.HTTP_204_NO_CONTENT)
def undeploy(model: str, member: DeploymentWriter, session: DbSession, now: Now) -> None:
    """Stop serving an alias."""
    service.undeploy(session, member, model, now=now)
