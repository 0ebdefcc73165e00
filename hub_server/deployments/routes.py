"""Deployments: ask for one, follow it, go back, withdraw it."""

from typing import Annotated

from fastapi import APIRouter, Query, Response, status

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
    Limit,
    Now,
)
from hub_server.deployments import service

router = APIRouter(prefix="/v1", tags=["deployments"])


@router.post(
    "/deployments",
    status_code=status.HTTP_201_CREATED,
    responses={status.HTTP_200_OK: {"model": wire.DeploymentPlan, "description": "Dry run"}},
)
def create_deployment(  # noqa: PLR0913  each is one of FastAPI's inputs
    new: wire.NewDeployment,
    member: DeploymentWriter,
    session: DbSession,
    catalog: Catalog,
    now: Now,
    response: Response,
    idempotency_key: IdempotencyKey = None,
) -> wire.Deployment | wire.DeploymentPlan:
    """Ask for an adapter to be served; a gateway fetches, loads and smoke-tests it first.

    With `dry_run`, make every check and store nothing.
    """
    ref = AdapterRef.parse(new.adapter)
    models = catalog_of(session, member.org_id, catalog)
    if new.dry_run:
        response.status_code = status.HTTP_200_OK
        adapter = service.find_adapter(session, member, ref)
        planned = service.plan(session, member, adapter, stage=new.stage, catalog=models)
        return service.plan_view(planned)

    def deploy() -> str:
        adapter = service.find_adapter(session, member, ref)
        return service.deploy(session, member, adapter, stage=new.stage, catalog=models, now=now).id

    request = Repeatable.of(idempotency_key, "create_deployment", new)
    deployment_id = once(session, member, request, now=now, create=deploy)
    return service.show(session, member, deployment_id)


@router.post("/deployments/{model:path}/rollback", status_code=status.HTTP_201_CREATED)
def roll_back(
    model: str,
    member: DeploymentWriter,
    session: DbSession,
    catalog: Catalog,
    now: Now,
    idempotency_key: IdempotencyKey = None,
) -> wire.Deployment:
    """Deploy again what an alias pointed to before; a second time leads back."""

    def deploy() -> str:
        models = catalog_of(session, member.org_id, catalog)
        return service.roll_back(session, member, model, catalog=models, now=now).id

    request = Repeatable.of(idempotency_key, "roll_back", wire.NewDeployment(adapter=model))
    deployment_id = once(session, member, request, now=now, create=deploy)
    return service.show(session, member, deployment_id)


@router.get("/deployments")
def list_deployments(
    member: DeploymentReader,
    session: DbReader,
    everything: Annotated[
        bool, Query(alias="all", description="Also what failed or was withdrawn.")
    ] = False,
    cursor: str | None = None,
    limit: Limit = 50,
) -> wire.DeploymentList:
    """List what is served or coming, newest first."""
    return service.list_deployments(
        session, member, everything=everything, cursor=cursor, limit=limit
    )


@router.get("/deployments/{deployment_id}")
def show_deployment(
    deployment_id: str, member: DeploymentReader, session: DbReader
) -> wire.Deployment:
    """Show one deployment."""
    return service.show(session, member, deployment_id)


@router.delete("/deployments/{model:path}", status_code=status.HTTP_204_NO_CONTENT)
def undeploy(model: str, member: DeploymentWriter, session: DbSession, now: Now) -> None:
    """Stop serving an alias with all its revisions, or one revision that it does not point to."""
    service.undeploy(session, member, model, now=now)
