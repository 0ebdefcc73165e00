"""Usage and balances, as orgs see them; and what gateways tell of requests."""

from datetime import date
from typing import Annotated

from fastapi import APIRouter, Query, status

from freesolo.schemas import usage as wire
from freesolo.schemas.usage import UsageBy
from hub_server.billing import service
from hub_server.dependencies import (
    DbReader,
    DbSession,
    DeploymentReader,
    FromHub,
    Gateway,
    Now,
    Settings,
)

router = APIRouter(prefix="/v1")


@router.get("/usage", tags=["usage"])
def report_usage(
    member: DeploymentReader,
    session: DbReader,
    by: Annotated[
        list[UsageBy] | None, Query(description="Sum up by these; by key and model if left out.")
    ] = None,
    since: Annotated[date | None, Query(description="The first day, in UTC.")] = None,
    until: Annotated[date | None, Query(description="The last day, in UTC.")] = None,
) -> wire.UsageReport:
    """Return the org's tokens and what they cost. What a request costs is known when it has ended."""
    wanted = by or [UsageBy.KEY, UsageBy.MODEL]
    lines = service.report(session, member, by=wanted, since=since, until=until)
    return wire.UsageReport(usage=lines)


@router.get("/balance", tags=["usage"])
def show_balance(member: DeploymentReader, session: DbReader, settings: Settings) -> wire.Balance:
    """Return what the org has left, and how much of that is set aside for open requests."""
    return service.balance_view(session, member, settings.billing)


@router.post("/gateway/usage", tags=["gateway"], status_code=status.HTTP_204_NO_CONTENT)
def record_usage(
    body: wire.UsageBatch, gateway: Gateway, session: DbSession, resources: FromHub
) -> None:
    """Settle requests that have ended. What is known already changes nothing."""
    resources.metrics.count_lost(service.record(session, body.records))


@router.get("/gateway/engines/{life}/tokens", tags=["gateway"])
def show_engine_tokens(life: str, gateway: Gateway, session: DbReader) -> wire.EngineTokens:
    """Return what the ledger has of one life of an engine, to be compared with its own counters."""
    return service.engine_tokens(session, life)


@router.post("/gateway/holds", tags=["gateway"], status_code=status.HTTP_204_NO_CONTENT)
def hold(body: wire.NewHold, gateway: Gateway, session: DbSession, now: Now) -> None:
    """Set money aside for a request that begins; 402 if its org has too little."""
    service.hold(session, body, now=now)


@router.post("/gateway/holds/renew", tags=["gateway"], status_code=status.HTTP_204_NO_CONTENT)
def renew_holds(body: wire.HoldIds, gateway: Gateway, session: DbSession, now: Now) -> None:
    """Keep money aside for requests that are still being answered."""
    service.renew(session, body.ids, now=now)
