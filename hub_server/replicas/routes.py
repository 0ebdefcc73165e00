"""What hosts of engines tell, and what gateways find out by it."""

from typing import Annotated

from fastapi import APIRouter, Path, status

from freesolo.domain.catalog import BaseModelEntry, find_model
from freesolo.schemas import replicas as wire
from hub_server.dependencies import Catalog, DbReader, DbSession, FromHub, Gateway, Now
from hub_server.replicas import service

router = APIRouter(prefix="/v1/gateway", tags=["gateway"])

Life = Annotated[str, Path(pattern=r"^[0-9a-z-]{8,64}$")]


@router.get("/base-models/{model:path}")
def show_base_model(model: str, gateway: Gateway, catalog: Catalog) -> BaseModelEntry:
    """Show an entry of the hub's catalog, as an engine needs it."""
    return find_model(catalog, model)


@router.put("/replicas/{life}")
def announce_replica(
    life: Life,
    body: wire.NewReplica,
    gateway: Gateway,
    session: DbSession,
    resources: FromHub,
    now: Now,
) -> wire.ReplicaLease:
    """Make an engine known, or renew its lease."""
    service.announce(session, life, body, vault=resources.vault, now=now)
    return wire.ReplicaLease(lease_seconds=service.LEASE_SECONDS)


@router.delete("/replicas/{life}", status_code=status.HTTP_204_NO_CONTENT)
def remove_replica(life: Life, gateway: Gateway, session: DbSession) -> None:
    """Forget an engine that has ended; harmless if it is not known."""
    service.leave(session, life)


@router.get("/replicas")
def list_replicas(
    gateway: Gateway, session: DbReader, resources: FromHub, now: Now
) -> wire.ReplicaList:
    """List the engines that live."""
    living = service.living(session, now=now)
    return wire.ReplicaList(replicas=[service.view(each, resources.vault) for each in living])
