"""What workers call. Every call on a claimed run carries the lease's token."""

from typing import Annotated

from fastapi import APIRouter, Depends, Header, Response, status

from freesolo.domain.devices import Devices
from freesolo.domain.secrets import JOB_SECRETS
from freesolo.schemas import leases as wire
from freesolo.schemas import runs as runs_wire
from hub_server.dependencies import (
    Blobs,
    Catalog,
    DbReader,
    DbSession,
    FromHub,
    Now,
    Settings,
    Worker,
)
from hub_server.leases import service
from hub_server.models import Checkpoint, Run
from hub_server.runs.service import checkpoint_view
from hub_server.secrets import service as secrets
from hub_server.storage import service as storage

router = APIRouter(prefix="/v1/leases", tags=["leases"])


def _held(
    run_id: str,
    worker: Worker,
    session: DbSession,
    freesolo_lease: Annotated[str, Header(description="The token of the lease.")],
) -> Run:
    return service.held(session, service.Holder(run_id, freesolo_lease))


HeldRun = Annotated[Run, Depends(_held, scope="function")]


def _seen(
    run_id: str,
    worker: Worker,
    session: DbReader,
    freesolo_lease: Annotated[str, Header(description="The token of the lease.")],
) -> Run:
    return service.held(session, service.Holder(run_id, freesolo_lease), locked=False)


SeenRun = Annotated[Run, Depends(_seen, scope="function")]


@router.post(
    "/claim",
    response_model=wire.Lease,
    responses={status.HTTP_204_NO_CONTENT: {"description": "Nothing waits"}},
)
def claim(
    body: wire.Claim,
    worker: Worker,
    session: DbSession,
    catalog: Catalog,
    settings: Settings,
    now: Now,
) -> wire.Lease | Response:
    """Lease the run that has waited longest of those that the worker can serve; 204 if none waits."""
    claimed = service.claim(
        session,
        service.Claimant(body.worker_id, Devices(body.device_type, body.device_count)),
        catalog=catalog,
        now=now,
        lease_seconds=settings.lease_seconds,
    )
    if claimed is None:
        return Response(status_code=status.HTTP_204_NO_CONTENT)
    return _lease(session, claimed, settings)


@router.post("/{run_id}/collect")
def collect(
    run_id: str,
    body: wire.Collection,
    worker: Worker,
    session: DbSession,
    catalog: Catalog,
    settings: Settings,
) -> wire.Lease:
    """Return the lease that the ticket is for, once: to a job that a worker started elsewhere."""
    claimed = service.collect(session, run_id, body.ticket, catalog=catalog)
    return _lease(session, claimed, settings)


@router.get("/{run_id}")
def show_lease(run: SeenRun) -> wire.LeaseStatus:
    """Return what the run's owner wants and what its job says. It costs no write: ask often."""
    return wire.LeaseStatus(cancel_requested=run.cancel_requested, phase=run.phase, step=run.step)


@router.get("/{run_id}/secrets")
def show_secrets(
    run: HeldRun, session: DbSession, resources: FromHub, response: Response
) -> wire.LeaseSecrets:
    """Return the secrets that an environment declares, and those of the training process, apart."""
    response.headers["Cache-Control"] = "no-store"
    found = secrets.of_run(session, run, resources.vault)
    job = {name: value for name, value in found.items() if name in JOB_SECRETS}
    environment = {name: value for name, value in found.items() if name not in JOB_SECRETS}
    return wire.LeaseSecrets.model_validate({"secrets": environment, "job": job})


@router.post("/{run_id}/heartbeat")
def heartbeat(run: HeldRun, settings: Settings, now: Now) -> wire.Heartbeat:
    """Keep the lease for another period; the answer tells whether the run is to stop."""
    until = service.renew(run, now=now, lease_seconds=settings.lease_seconds)
    return wire.Heartbeat(cancel_requested=run.cancel_requested, lease_until=until)


@router.post("/{run_id}/start", status_code=status.HTTP_204_NO_CONTENT)
def start(body: wire.Started, run: HeldRun, session: DbSession, now: Now) -> None:
    """Say that training begins, how many steps it takes, and on what."""
    service.start(session, run, body, now=now)


@router.post("/{run_id}/events", status_code=status.HTTP_204_NO_CONTENT)
def report_events(body: wire.EventBatch, run: HeldRun, session: DbSession, now: Now) -> None:
    """Append log lines, metrics and samples. The same batch again changes nothing."""
    service.record_events(session, run, body, now=now)


@router.post("/{run_id}/checkpoints", status_code=status.HTTP_201_CREATED)
def record_checkpoint(
    body: wire.NewCheckpoint, run: HeldRun, session: DbSession, blobs: Blobs, now: Now
) -> runs_wire.Checkpoint:
    """Record a checkpoint whose blobs are stored. The same again changes nothing."""
    digests = {body.adapter.archive_digest, body.state.archive_digest}
    storage.require(session, blobs, digests, now=now)
    return checkpoint_view(service.record_checkpoint(session, run, body, now=now))


@router.post("/{run_id}/complete", status_code=status.HTTP_204_NO_CONTENT)
def complete(body: wire.Completion, run: HeldRun, session: DbSession, now: Now) -> None:
    """End the run as done; the checkpoint of `step` is its result."""
    service.complete(session, run, step=body.step, now=now)


@router.post("/{run_id}/fail", status_code=status.HTTP_204_NO_CONTENT)
def fail(body: wire.Failure, run: HeldRun, session: DbSession, now: Now) -> None:
    """End the run as failed; with `retry` it is given back, unless that was in vain too often."""
    service.fail(session, run, body, now=now)


@router.post("/{run_id}/release", status_code=status.HTTP_204_NO_CONTENT)
def release(run: HeldRun, session: DbSession, now: Now, body: wire.Release | None = None) -> None:
    """Give the run back: to the next worker, or as cancelled if its owner asked for that."""
    service.release(session, run, body.reason if body else None, now=now)


def _lease(session: DbSession, claimed: service.Claimed, settings: Settings) -> wire.Lease:
    run = claimed.run
    return wire.Lease(
        run_id=run.id,
        attempt=run.attempt,
        token=str(run.lease_token),
        lease_seconds=settings.lease_seconds,
        spec=claimed.spec,
        environment=run.environment,
        model=claimed.model,
        resume=_resume_point(service.newest_checkpoint(session, run)),
        warm_start=run.warm_start,
        teacher=claimed.teacher,
    )


def _resume_point(checkpoint: Checkpoint | None) -> wire.ResumePoint | None:
    if checkpoint is None or checkpoint.state is None:
        return None
    return wire.ResumePoint(
        step=checkpoint.step, adapter=checkpoint.adapter, state=checkpoint.state
    )
