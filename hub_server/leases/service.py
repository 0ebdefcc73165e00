"""The worker's side of runs: claim one, keep it, report on it, end it.

A lease is the worker's name, a random token and a deadline in the run's row. Whoever shows the
token still has the run, even past the deadline, until it was claimed by another worker or taken
back by `take_back`.
"""

import hmac
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic import JsonValue
from sqlalchemy import ColumnElement, and_, or_, select, update
from sqlalchemy.orm import Session

from freesolo.domain.catalog import BaseModelEntry, Catalog
from freesolo.domain.devices import Devices, answers_to
from freesolo.domain.lifecycle import RUN_LEASED, RunState
from freesolo.domain.refs import adapter_revision
from freesolo.domain.train_spec import TrainSpec, parse_train_spec
from freesolo.errors import (
    AdapterNotFound,
    Conflict,
    InvalidTrainSpec,
    JobNotStarted,
    LeaseLost,
    OutOfMemory,
    RunNotFound,
    RunStalled,
    WorkerLost,
)
from freesolo.schemas import leases as wire
from freesolo.schemas.runs import AttemptOutcome, EventKind, RunError
from hub_server.base_models.service import catalog_of, in_catalog
from hub_server.db import insert_or_update
from hub_server.identifiers import new_secret
from hub_server.models import Checkpoint, KnownWorker, Run, RunAttempt
from hub_server.runs.history import numbers
from hub_server.runs.service import add_event, end_attempt, move

logger = logging.getLogger(__name__)

# A run that was begun this often without saving anything would only fail again; sooner one that hangs,
# needs more memory than there is, or is refused by every machine: that takes long, and the next try
# seldom goes better.
MAX_FRUITLESS_ATTEMPTS = 5
_SOONER = {RunStalled.code: 2, OutOfMemory.code: 2, JobNotStarted.code: 2}
# How exactly it is known when a worker last asked for work.
_SEEN = timedelta(seconds=10)


@dataclass(frozen=True)
class Holder:
    """A worker that says it holds the lease on a run."""

    run_id: str
    token: str


@dataclass(frozen=True)
class Claimant:
    """A worker that asks for a run, and the devices it has for one."""

    worker_id: str
    devices: Devices


@dataclass(frozen=True)
class Claimed:
    """A run that was just leased, its config as today's rules read it, its base model, its teacher."""

    run: Run
    spec: TrainSpec
    model: BaseModelEntry
    teacher: wire.PinnedTeacher | None


def claim(
    session: Session, worker: Claimant, *, catalog: Catalog, now: datetime, lease_seconds: float
) -> Claimed | None:
    """Lease the run that has waited longest of those that the worker can serve, or return None.

    Runs that were submitted under older rules, and break those of today, are failed on the way.
    """
    until = now + timedelta(seconds=lease_seconds)
    _note_worker(session, worker, now=now)
    while (
        run := _take_longest_waiting(
            session, _can_be_claimed(session, worker, catalog, now=now), until=until
        )
    ) is not None:
        end_attempt(session, run, AttemptOutcome.LOST, _silence(run, run.attempt - 1), now=now)
        _begin_attempt(session, run, worker, now=now)
        add_event(session, run, EventKind.STATE, {"state": run.state.value}, now=now)
        logger.info(
            "run claimed",
            extra={"run": run.id, "attempt": run.attempt, "worker": worker.worker_id},
        )
        try:
            spec = parse_train_spec(run.spec)
        except InvalidTrainSpec as error:
            run.error = RunError(code=error.code, message=error.message, hint=error.hint)
            end_attempt(session, run, AttemptOutcome.FAILED, run.error, now=now)
            move(session, run, RunState.FAILED, now=now)
        else:
            return _claimed(session, run, spec, catalog)
    return None


def collect(session: Session, run_id: str, ticket: str, *, catalog: Catalog) -> Claimed:
    """Hand the lease of a run over to the process that its worker gave the ticket to, once."""
    run = _locked(session, run_id)
    if (
        run.lease_token is None
        or run.lease_collected
        or not hmac.compare_digest(wire.ticket_of(run.lease_token).encode(), ticket.encode())
    ):
        raise LeaseLost(f"This ticket to {run.id} was used before, or its lease is over.")
    run.lease_collected = True
    return _claimed(session, run, parse_train_spec(run.spec), catalog)


def _claimed(session: Session, run: Run, spec: TrainSpec, catalog: Catalog) -> Claimed:
    models = catalog_of(session, run.org_id, catalog)
    teacher = None
    if run.teacher_model_id is not None:
        teacher = wire.PinnedTeacher(
            model=models[run.teacher_model_id], adapter=run.teacher_adapter
        )
    return Claimed(run, spec, models[run.model_id], teacher)


def _note_worker(session: Session, worker: Claimant, *, now: datetime) -> None:
    known = session.get(KnownWorker, worker.worker_id)
    devices = worker.devices
    told = known and Devices(known.device_type, known.device_count) == devices
    if known is None or not told or known.last_seen_at < now - _SEEN:
        row = {
            "worker_id": worker.worker_id,
            "device_type": devices.type,
            "device_count": devices.count,
            "last_seen_at": now,
        }
        insert_or_update(session, KnownWorker, row, key="worker_id")


def _can_be_claimed(
    session: Session, worker: Claimant, catalog: Catalog, *, now: datetime
) -> ColumnElement[bool]:
    """Return the condition of runs that a worker may take. Silent workers' runs count as waiting."""
    waiting = and_(
        or_(Run.state == RunState.QUEUED, _lease_expired(now)),
        Run.cancel_requested.is_(False),
        Run.fruitless_attempts < MAX_FRUITLESS_ATTEMPTS,
        # A run on a model that left the catalog, or changed in it, waits until it is back.
        in_catalog(Run.model_id, Run.model_revision, shared=catalog),
        or_(
            Run.teacher_model_id.is_(None),
            in_catalog(Run.teacher_model_id, Run.teacher_model_revision, shared=catalog),
        ),
    )
    wanted = session.scalars(select(Run.gpu_type).where(waiting).distinct())
    served = [each for each in wanted if answers_to(worker.devices.type, each or None)]
    return and_(waiting, Run.gpu_type.in_(served))


def _take_longest_waiting(
    session: Session, waiting: ColumnElement[bool], *, until: datetime
) -> Run | None:
    """Lease the run that has waited longest, or return None.

    Choosing and taking are one statement: of any number of workers that ask at once, each gets
    another run.
    """
    longest = (
        select(Run.id)
        .where(waiting)
        .order_by(Run.created_at, Run.id)
        .limit(1)
        .with_for_update(skip_locked=True)
        .scalar_subquery()
    )
    return session.scalars(
        update(Run)
        # SQLite has no locking clause, and needs the condition again instead.
        .where(Run.id == longest, waiting)
        .values(
            state=RunState.STARTING,
            attempt=Run.attempt + 1,
            fruitless_attempts=Run.fruitless_attempts + 1,
            reported_events=0,
            phase=None,
            lease_token=new_secret(),
            lease_collected=False,
            lease_until=until,
        )
        .returning(Run)
        .execution_options(synchronize_session=False)
    ).one_or_none()


def _begin_attempt(session: Session, run: Run, worker: Claimant, *, now: datetime) -> None:
    run.worker_id = worker.worker_id
    point = newest_checkpoint(session, run)
    run.step = point.step if point else 0
    session.add(
        RunAttempt(
            run_id=run.id,
            attempt=run.attempt,
            worker_id=worker.worker_id,
            started_at=now,
            first_step=run.step,
        )
    )


def newest_checkpoint(session: Session, run: Run) -> Checkpoint | None:
    """Return what the next attempt goes on from."""
    return session.scalars(
        select(Checkpoint)
        .where(Checkpoint.run_id == run.id, Checkpoint.state.is_not(None))
        .order_by(Checkpoint.step.desc())
        .limit(1)
    ).one_or_none()


def held(session: Session, holder: Holder, *, locked: bool = True) -> Run:
    """Return the run if the lease is still the holder's; raise `LeaseLost` if not."""
    run = _locked(session, holder.run_id) if locked else session.get(Run, holder.run_id)
    if run is None:
        raise _no_run(holder.run_id)
    if run.lease_token is None or not hmac.compare_digest(
        run.lease_token.encode(), holder.token.encode()
    ):
        raise LeaseLost(f"The lease on {run.id} is no longer this worker's.")
    return run


def _locked(session: Session, run_id: str) -> Run:
    run = session.scalars(select(Run).where(Run.id == run_id).with_for_update()).one_or_none()
    if run is None:
        raise _no_run(run_id)
    return run


def _no_run(run_id: str) -> RunNotFound:
    return RunNotFound(f"There is no run {run_id!r}.")


def renew(run: Run, *, now: datetime, lease_seconds: float) -> datetime:
    """Move the deadline of a lease and return it."""
    run.lease_until = now + timedelta(seconds=lease_seconds)
    return run.lease_until


def start(session: Session, run: Run, started: wire.Started, *, now: datetime) -> None:
    """Note that a run trains now, and on what. Saying so again is harmless."""
    if run.state is RunState.RUNNING:
        return
    run.total_steps = started.total_steps
    run.provenance = started.provenance
    run.device = started.device
    run.started_at = run.started_at or now
    move(session, run, RunState.RUNNING, now=now)


def record_events(session: Session, run: Run, batch: wire.EventBatch, *, now: datetime) -> None:
    """Append what a worker reports; the last value of each metric stays with the run.

    A worker that got no answer sends a batch again: what is known already changes nothing.
    """
    run.phase = batch.phase or run.phase
    known = max(0, run.reported_events - batch.first)
    run.reported_events = max(run.reported_events, batch.first + len(batch.events))
    for event in batch.events[known:]:
        data = {name: _storable(value) for name, value in event.data.items()}
        add_event(session, run, event.kind, data, now=now, step=event.step)
        if event.kind is EventKind.METRICS:
            run.metrics = run.metrics | numbers(data)
            run.step = run.step if event.step is None else event.step


def record_checkpoint(
    session: Session, run: Run, point: wire.NewCheckpoint, *, now: datetime
) -> Checkpoint:
    """Record what a run saved. The same again is harmless; a step's adapter never changes."""
    known = session.get(Checkpoint, (run.id, point.step))
    if known is not None:
        if known.adapter.tree_digest != point.adapter.tree_digest:
            raise Conflict(
                f"Step {point.step} of {run.id} was saved as {known.adapter.tree_digest}, "
                f"not as {point.adapter.tree_digest}."
            )
        return known
    checkpoint = Checkpoint(
        run_id=run.id,
        step=point.step,
        attempt=run.attempt,
        adapter=point.adapter,
        adapter_kept=True,
        state=point.state,
        created_at=now,
    )
    session.add(checkpoint)
    run.step = max(run.step, point.step)
    run.fruitless_attempts = 0
    return checkpoint


def complete(session: Session, run: Run, *, step: int, now: datetime) -> None:
    """End a run well: the adapter saved after `step` is its result."""
    checkpoint = session.get(Checkpoint, (run.id, step))
    if checkpoint is None:
        raise AdapterNotFound(f"{run.id} has saved nothing after step {step}.")
    run.final_step = step
    run.adapter_revision = adapter_revision(run.id, None, checkpoint.adapter.tree_digest)
    end_attempt(session, run, AttemptOutcome.DONE, None, now=now)
    move(session, run, RunState.DONE, now=now)


def fail(session: Session, run: Run, failure: wire.Failure, *, now: datetime) -> None:
    """End a run badly, or give it back if another attempt may go better."""
    add_event(session, run, EventKind.LOG, {"message": failure.error.message}, now=now)
    if not failure.retry:
        run.error = failure.error
        end_attempt(session, run, AttemptOutcome.FAILED, failure.error, now=now)
        move(session, run, RunState.FAILED, now=now)
    else:
        end_attempt(session, run, AttemptOutcome.RETRIED, failure.error, now=now)
        _give_back(session, run, failure.error, now=now)


def release(session: Session, run: Run, reason: RunError | None, *, now: datetime) -> None:
    """Give a run back unharmed: its worker stops, or was asked to stop it, or found no room for it.

    Such an attempt counts as little against the run as for it.
    """
    run.fruitless_attempts = max(0, run.fruitless_attempts - 1)
    if reason is not None:
        add_event(session, run, EventKind.LOG, {"message": reason.message}, now=now)
    outcome = AttemptOutcome.CANCELLED if run.cancel_requested else AttemptOutcome.RELEASED
    end_attempt(session, run, outcome, reason, now=now)
    _give_back(session, run, None, now=now)


def lost_runs(session: Session, *, now: datetime) -> Sequence[str]:
    """Return the ids of the runs whose worker fell silent."""
    return session.scalars(select(Run.id).where(_lease_expired(now))).all()


def take_back(session: Session, run_id: str, *, now: datetime) -> None:
    """Give back a run, unless its worker has spoken meanwhile."""
    run = session.scalars(
        select(Run).where(Run.id == run_id, _lease_expired(now)).with_for_update(skip_locked=True)
    ).one_or_none()
    if run is None:
        return
    silent = _silence(run, run.attempt)
    add_event(session, run, EventKind.LOG, {"message": silent.message}, now=now)
    end_attempt(session, run, AttemptOutcome.LOST, silent, now=now)
    _give_back(session, run, silent, now=now)


def extend_leases(session: Session, *, now: datetime, lease_seconds: float) -> None:
    """Give every worker a lease's time to speak: a hub that was away heard nobody."""
    until = now + timedelta(seconds=lease_seconds)
    session.execute(
        update(Run)
        .where(Run.state.in_(RUN_LEASED), Run.lease_until < until)
        .values(lease_until=until)
    )


def _silence(run: Run, attempt: int) -> RunError:
    return RunError(
        code=WorkerLost.code,
        message=f"The worker {run.worker_id!r} fell silent during attempt {attempt}.",
        hint="It is tried again from its newest checkpoint. If workers keep vanishing, look at the "
        "machine: memory, disk, power, network.",
    )


def _give_back(session: Session, run: Run, reason: RunError | None, *, now: datetime) -> None:
    """Let a run leave its worker: cancelled if that was asked for, else to the next worker."""
    if run.cancel_requested:
        move(session, run, RunState.CANCELLED, now=now)
    elif reason is not None and run.fruitless_attempts >= _SOONER.get(
        reason.code, MAX_FRUITLESS_ATTEMPTS
    ):
        run.error = RunError(
            code=reason.code,
            message=f"{run.fruitless_attempts} attempts in a row ended before anything was saved; "
            f"the last one: {reason.message}",
            hint=reason.hint,
            traceback=reason.traceback,
        )
        move(session, run, RunState.FAILED, now=now)
    else:
        move(session, run, RunState.QUEUED, now=now)


def _lease_expired(now: datetime) -> ColumnElement[bool]:
    return and_(Run.state.in_(RUN_LEASED), Run.lease_until < now)


def _storable(value: JsonValue) -> JsonValue:
    """Return `value` with None for each number that JSON cannot write."""
    match value:
        case float():
            return value if math.isfinite(value) else None
        case list():
            return [_storable(each) for each in value]
        case dict():
            return {name: _storable(each) for name, each in value.items()}
    return value
