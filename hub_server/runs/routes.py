"""Runs: submit, follow, cancel."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query, Response, status
from sqlalchemy.orm import Session

from freesolo.domain.lifecycle import RunState
from freesolo.domain.refs import AdapterRef
from freesolo.schemas import runs as wire
from freesolo.schemas.adapters import SavedAdapter
from freesolo.schemas.uses import UseKind
from hub_server.accounts.service import Member, Repeatable, once
from hub_server.base_models.service import catalog_of, hold
from hub_server.dependencies import (
    Blobs,
    DbReader,
    DbSession,
    FromHub,
    IdempotencyKey,
    Limit,
    Now,
    Resources,
    RunReader,
    RunWriter,
)
from hub_server.downloads import blob_response
from hub_server.models import Run
from hub_server.runs import adapters, attempts, estimates, history, reproducing, service

router = APIRouter(prefix="/v1", tags=["runs"])

_EVENTS_PAGE = 1000


@router.post(
    "/runs",
    status_code=status.HTTP_201_CREATED,
    responses={status.HTTP_200_OK: {"model": wire.RunPlan, "description": "Dry run"}},
)
def create_run(  # noqa: PLR0913  each is one of FastAPI's inputs
    new: wire.NewRun,
    member: RunWriter,
    session: DbSession,
    resources: FromHub,
    now: Now,
    response: Response,
    idempotency_key: IdempotencyKey = None,
) -> wire.Run | wire.RunPlan:
    """Queue a run, or with `dry_run` make every check and queue nothing."""
    catalog = catalog_of(session, member.org_id, resources.catalog)
    if new.dry_run:
        response.status_code = status.HTTP_200_OK
        planned = service.plan(session, member, new, catalog=catalog)
        estimate = estimates.estimate(session, member, planned.spec, planned.model, planned.version)
        return service.plan_view(planned, estimate, _warnings(session, planned, now=now))

    def submit() -> str:
        planned = service.plan(session, member, new, catalog=catalog)
        return _queue(session, member, planned, resources=resources, now=now)

    request = Repeatable.of(idempotency_key, "create_run", new)
    run_id = once(session, member, request, now=now, create=submit)
    return _run_view(session, service.find(session, member, run_id), now=now)


def _run_view(session: DbSession, run: Run, *, now: datetime) -> wire.Run:
    """Return a run, and if it is queued, whether anybody can serve it."""
    if run.state is not RunState.QUEUED:
        return service.run_view(run)
    waits = service.why_it_waits(session, run.gpu_type or None, now=now)
    return service.run_view(run, waits_because=waits)


def _warnings(session: DbSession, planned: service.Plan, *, now: datetime) -> list[str]:
    waits = service.why_it_waits(session, planned.spec.gpu.type, now=now)
    return [] if waits is None else [waits]


@router.post("/runs/{run_id}/reproduce", status_code=status.HTTP_201_CREATED)
def reproduce_run(  # noqa: PLR0913  each is one of FastAPI's inputs
    run_id: str,
    body: wire.Reproduction,
    member: RunWriter,
    session: DbSession,
    resources: FromHub,
    now: Now,
    idempotency_key: IdempotencyKey = None,
) -> wire.Run:
    """Queue a run again, bound to everything that the first one was bound to."""

    def submit() -> str:
        original = service.find(session, member, run_id)
        catalog = catalog_of(session, member.org_id, resources.catalog)
        planned = reproducing.plan(session, member, original, body, catalog=catalog)
        return _queue(session, member, planned, resources=resources, now=now)

    request = Repeatable.of(idempotency_key, f"reproduce_run {run_id}", body)
    again = once(session, member, request, now=now, create=submit)
    return _run_view(session, service.find(session, member, again), now=now)


def _queue(
    session: Session,
    member: Member,
    planned: service.Plan,
    *,
    resources: Resources,
    now: datetime,
) -> str:
    hold(session, member.org_id, planned.models, shared=resources.catalog)
    resources.uses.note(planned.version.id, UseKind.RUN, on=now.date())
    run = service.submit(
        session, member, planned, vault=resources.vault, blobs=resources.blobs, now=now
    )
    return run.id


@router.get("/runs")
def list_runs(
    member: RunReader, session: DbReader, cursor: str | None = None, limit: Limit = 50
) -> wire.RunList:
    """List the org's runs, newest first."""
    page, next_cursor = service.list_runs(session, member, cursor=cursor, limit=limit)
    return wire.RunList(runs=[service.run_view(run) for run in page], next_cursor=next_cursor)


@router.get("/runs/{run_id}")
def show_run(run_id: str, member: RunReader, session: DbReader, now: Now) -> wire.RunDetail:
    """Show one run, with what made it and how each attempt at it went."""
    run = service.find(session, member, run_id)
    return attempts.detail_view(session, run, _run_view(session, run, now=now))


@router.get("/runs/{run_id}/events")
def list_events(
    run_id: str,
    member: RunReader,
    session: DbReader,
    after: Annotated[
        int, Query(ge=0, le=2**31 - 1, description="The last `seq` that is known.")
    ] = 0,
) -> wire.EventPage:
    """Return the events that follow `after`, oldest first, and the run's state.

    Samples are not among them: they have a listing of their own.
    """
    run = service.find(session, member, run_id)
    found = service.events_after(session, run, after, limit=_EVENTS_PAGE)
    return wire.EventPage(events=[service.event_view(event) for event in found], state=run.state)


@router.get("/runs/{run_id}/metrics")
def list_metrics(
    run_id: str,
    member: RunReader,
    session: DbReader,
    cursor: str | None = None,
    limit: Annotated[int, Query(ge=1, le=1000, description="The most steps on a page.")] = 1000,
) -> wire.MetricsPage:
    """Return what was measured in each step, by rising step; each step once, as it went last."""
    run = service.find(session, member, run_id)
    return history.metrics_by_step(session, run, cursor=cursor, limit=limit)


@router.get("/runs/{run_id}/samples")
def list_samples(
    run_id: str,
    member: RunReader,
    session: DbReader,
    step: Annotated[
        int | None, Query(ge=1, le=2**31 - 1, description="Only those of this step.")
    ] = None,
    cursor: str | None = None,
    limit: Limit = 50,
) -> wire.SampleList:
    """Return what the model was asked, said and got, the newest first."""
    run = service.find(session, member, run_id)
    return history.samples(session, run, step=step, cursor=cursor, limit=limit)


@router.get("/runs/{run_id}/checkpoints")
def list_checkpoints(run_id: str, member: RunReader, session: DbReader) -> wire.CheckpointList:
    """List what a run has saved, by rising step."""
    saved = service.checkpoints(session, service.find(session, member, run_id))
    return wire.CheckpointList(checkpoints=[service.checkpoint_view(point) for point in saved])


@router.post("/runs/{run_id}/cancel")
def cancel_run(run_id: str, member: RunWriter, session: DbSession, now: Now) -> wire.Run:
    """Ask a run to stop. What it saved stays."""
    run = service.find(session, member, run_id, lock=True)
    service.cancel(session, member, run, now=now)
    return service.run_view(run)


# Before the route below, which would take `/archive` for a part of the reference.
@router.get("/adapters/{ref:path}/archive", response_class=Response)
def download_adapter(ref: str, member: RunReader, session: DbReader, blobs: Blobs) -> Response:
    """Download an adapter's archive, as its run stored it."""
    return blob_response(blobs, _adapter(session, member, ref).saved.archive_digest)


@router.get("/adapters/{ref:path}")
def show_adapter(
    ref: str, member: RunReader, session: DbReader, resources: FromHub
) -> SavedAdapter:
    """Show the adapter that `RUN_ID`, `RUN_ID/step-N` or a full revision means."""
    catalog = catalog_of(session, member.org_id, resources.catalog)
    return adapters.saved_view(_adapter(session, member, ref), catalog)


def _adapter(session: Session, member: Member, text: str) -> adapters.Adapter:
    ref = AdapterRef.parse(text)
    return adapters.of_run(session, service.find(session, member, ref.run_id), ref)
