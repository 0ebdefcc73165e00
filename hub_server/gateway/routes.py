"""What gateways call."""

from fastapi import APIRouter, Response, status

from freesolo.schemas import deployments as wire
from hub_server.dependencies import (
    Catalog,
    DbReader,
    DbSession,
    FromHub,
    Gateway,
    Now,
    Settings,
)
from hub_server.gateway import service

router = APIRouter(prefix="/v1/gateway", tags=["gateway"])


@router.post("/resolve")
def resolve(
    body: wire.ResolveTarget,
    gateway: Gateway,
    session: DbReader,
    resources: FromHub,
    now: Now,
) -> wire.Target:
    """Return what a key gets under a model name."""
    member = service.chatting_member(session, body.key_hash, org=body.org, now=now)
    resources.key_uses.note(member, now=now)
    return service.resolve(
        session,
        member,
        body.model,
        catalog=resources.catalog,
        settings=resources.settings,
    )


@router.post("/models")
def list_models(
    body: wire.KeyHash,
    gateway: Gateway,
    session: DbReader,
    catalog: Catalog,
    now: Now,
) -> wire.ServedModelList:
    """List every name a key may ask for."""
    member = service.chatting_member(session, body.key_hash, org=body.org, now=now)
    return wire.ServedModelList(models=service.served_models(session, member, catalog=catalog))


@router.post(
    "/deployments/claim",
    response_model=wire.DeploymentTask,
    responses={status.HTTP_204_NO_CONTENT: {"description": "Nothing waits"}},
)
def claim_deployment(
    gateway: Gateway, session: DbSession, catalog: Catalog, settings: Settings, now: Now
) -> wire.DeploymentTask | Response:
    """Lease the deployment that has waited longest; 204 if none waits."""
    claimed = service.claim(session, catalog=catalog, now=now, lease_seconds=settings.lease_seconds)
    if claimed is None:
        return Response(status_code=status.HTTP_204_NO_CONTENT)
    deployment = claimed.deployment
    return wire.DeploymentTask(
        id=deployment.id,
        token=str(deployment.lease_token),
        lease_seconds=settings.lease_seconds,
        model=deployment.alias,
        base_model=claimed.base_model,
        **service.adapter_facts(session, deployment),
    )


@router.post("/deployments/{deployment_id}/advance", status_code=status.HTTP_204_NO_CONTENT)
def advance_deployment(
    deployment_id: str,
    body: wire.Advance,
    gateway: Gateway,
    session: DbSession,
    settings: Settings,
    now: Now,
) -> None:
    """Move a claimed deployment on and renew the lease; the same state again only renews."""
    deployment = service.held(session, deployment_id, body.token)
    service.advance(session, deployment, body, now=now, lease_seconds=settings.lease_seconds)
