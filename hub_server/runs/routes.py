"""Runs: submit, follow, cancel; and the catalog of models they can train."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query, Response, status

from freesolo.domain.devices import Devices
from freesolo.domain.lifecycle import RunState
from freesolo.schemas import runs as wire
from freesolo.schemas.deployments import Model, ModelList
from freesolo.schemas.uses import UseKind
from hub_server.accounts.service import Repeatable, once
from hub_server.dependencies import (
    AnyMember,
    Catalog,
    DbReader,
    DbSession,
    FromHub,
    IdempotencyKey,
    Limit,
    Now,
    RunReader,
    RunWriter,
)
from hub_server.models import Run
from hub_server.runs import service

router = APIRouter(prefix="/v1", tags=["runs"])

_EVENTS_PAGE = 1000


@router.get("/models")
async def list_models(member: AnyMember, catalog: Catalog) -> ModelList:
    """List the base models that can be trained and served."""
    return ModelList(
        models=[
            Model.model_validate(entry, from_attributes=True)
            for entry in sorted(catalog.values(), key=lambda entry: entry.id)
        ]
    )


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
    if new.dry_run:
        response.status_code = status.HTTP_200_OK
        planned = service.plan(session, member, new, catalog=resources.catalog)
        return wire.RunPlan(
            spec=planned.spec,
            environment=service.environment_pin(planned.environment),
            model_revision=planned.model.revision,
            secrets=list(planned.declared_secrets),
            warnings=_warnings(session, planned, now=now),
        )

    def submit() -> str:
        planned = service.plan(session, member, new, catalog=resources.catalog)
        resources.uses.note(planned.version.id, UseKind.RUN, on=now.date())
        return service.submit(session, member, planned, vault=resources.vault, now=now).id

    request = Repeatable.of(idempotency_key, "create_run", new)
    run_id = once(session, member, request, now=now, create=submit)
    return _run_view(session, service.find(session, member, run_id), now=now)


def _run_view(session: DbSession, run: Run, *, now: datetime) -> wire.Run:
    """Return a run, and if it is queued, whether anybody can serve it."""
    if run.state is not RunState.QUEUED:
        return service.run_view(run)
    needs = service.device_needs(run.gpu_type, run.gpu_count)
    return service.run_view(run, waits_because=service.why_it_waits(session, needs, now=now))


def _warnings(session: DbSession, planned: service.Plan, *, now: datetime) -> list[str]:
    needs = Devices(planned.spec.gpu.type, planned.spec.gpu.count)
    waits = service.why_it_waits(session, needs, now=now)
    return [] if waits is None else [waits]


@router.get("/runs")
def list_runs(
    member: RunReader, session: DbReader, cursor: str | None = None, limit: Limit = 50
) -> wire.RunList:
    """List the org's runs, newest first."""
    page, next_cursor = service.list_runs(session, member, cursor=cursor, limit=limit)
    return wire.RunList(runs=[service.run_view(run) for run in page], next_cursor=next_cursor)


@router.get("/runs/{run_id}")
def show_run(run_id: str, member: RunReader, session: DbReader, now: Now) -> wire.Run:
    """Show one run."""
    return _run_view(session, service.find(session, member, run_id), now=now)


@router.get("/runs/{run_id}/attempts")
def list_attempts(run_id: str, member: RunReader, session: DbReader) -> wire.AttemptList:
    """List how often a run was tried, by whom, and how each attempt ended."""
    made = service.attempts(session, service.find(session, member, run_id))
    return wire.AttemptList(attempts=[service.attempt_view(attempt) for attempt in made])


@router.get("/runs/{run_id}/events")
def list_events(
    run_id: str,
    member: RunReader,
    session: DbReader,
    after: Annotated[
        int, Query(ge=0, le=2**31 - 1, description="The last `seq` that is known.")
    ] = 0,
) -> wire.EventPage:
    """Return the events that follow `after`, oldest first, and the run's state."""
    run = service.find(session, member, run_id)
    found = service.events_after(session, run, after, limit=_EVENTS_PAGE)
    return wire.EventPage(events=[service.event_view(event) for event in found], state=run.state)


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
