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
from sqlalchemy import ColumnElement, and_, or_, select, tuple_, update
from sqlalchemy.orm import Session

from freesolo.domain.catalog import Catalog
from freesolo.domain.lifecycle import RUN_LEASED, RunState
from freesolo.domain.refs import adapter_revision
from freesolo.domain.train_spec import TrainSpec, parse_train_spec
from freesolo.errors import (
    AdapterNotFound,
    Conflict,
    InvalidTrainSpec,
    LeaseLost,
    RunNotFound,
    Unavailable,
)
from freesolo.schemas import leases as wire
from freesolo.schemas.runs import EventKind, RunError
from hub_server.identifiers import new_secret
from hub_server.models import Checkpoint, Run
from hub_server.runs.history import numbers
from hub_server.runs.service import add_event, move

logger = logging.getLogger(__name__)

# A run that was begun this often without saving anything would only fail again.
MAX_FRUITLESS_ATTEMPTS = 5


@dataclass(frozen=True)
class Holder:
    """A worker that says it holds the lease on a run."""

    run_id: str
    token: str


@dataclass(frozen=True)
class Claimed:
    """A run that was just leased, with its config as today's rules read it."""

    run: Run
    spec: TrainSpec


def claim(
    session: Session, worker_id: str, *, catalog: Catalog, now: datetime, lease_seconds: float
) -> Claimed | None:
    """Lease the run that has waited longest, or return None.

    Runs that were submitted under older rules, and break those of today, are failed on the way.
    """
    until = now + timedelta(seconds=lease_seconds)
    while (
        run := _take_longest_waiting(session, catalog=catalog, now=now, until=until)
    ) is not None:
        run.worker_id = worker_id
        add_event(session, run, EventKind.STATE, {"state": run.state.value}, now=now)
        logger.info(
            "run claimed", extra={"run": run.id, "attempt": run.attempt, "worker": worker_id}
        )
        try:
            return Claimed(run, parse_train_spec(run.spec))
        except InvalidTrainSpec as error:
            run.error = RunError(code=error.code, message=error.message, hint=error.hint)
            move(session, run, RunState.FAILED, now=now, reason=error.message)
    return None


def _take_longest_waiting(
    session: Session, *, catalog: Catalog, now: datetime, until: datetime
) -> Run | None:
    """Lease the run that has waited longest, or return None.

    Runs whose worker fell silent count as waiting. Choosing and taking are one statement: of any
    number of workers that ask at once, each gets another run.
    """
    offered = [(model.id, model.revision) for model in catalog.values()]
    waiting = and_(
        or_(Run.state == RunState.QUEUED, _lease_expired(now)),
        Run.cancel_requested.is_(False),
        Run.fruitless_attempts < MAX_FRUITLESS_ATTEMPTS,
        # A run on a model that left the catalog, or changed in it, waits until it is back.
        tuple_(Run.model_id, Run.model_revision).in_(offered),
        or_(
            Run.teacher_model_id.is_(None),
            tuple_(Run.teacher_model_id, Run.teacher_model_revision).in_(offered),
        ),
    )
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
            lease_token=new_secret(),
            lease_until=until,
        )
        .returning(Run)
        .execution_options(synchronize_session=False)
    ).one_or_none()


def newest_checkpoint(session: Session, run: Run) -> Checkpoint | None:
    """Return what the next attempt goes on from."""
    return session.scalars(
        select(Checkpoint)
        .where(Checkpoint.run_id == run.id)
        .order_by(Checkpoint.step.desc())
        .limit(1)
    ).one_or_none()


def held(session: Session, holder: Holder) -> Run:
    """Return the run, locked, if the lease is still the holder's; raise `LeaseLost` if not."""
    run = session.scalars(
        select(Run).where(Run.id == holder.run_id).with_for_update()
    ).one_or_none()
    if run is None:
        raise RunNotFound(f"There is no run {holder.run_id!r}.")
    if run.lease_token is None or not hmac.compare_digest(
        run.lease_token.encode(), holder.token.encode()
    ):
        raise LeaseLost(f"The lease on {run.id} is no longer this worker's.")
    return run


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
    run.started_at = run.started_at or now
    move(session, run, RunState.RUNNING, now=now)


def record_events(session: Session, run: Run, batch: wire.EventBatch, *, now: datetime) -> None:
    """Append what a worker reports; the last value of each metric stays with the run.

    A worker that got no answer sends a batch again: what is known already changes nothing.
    """
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
    move(session, run, RunState.DONE, now=now)


def fail(session: Session, run: Run, failure: wire.Failure, *, now: datetime) -> None:
    """End a run badly, or give it back if another attempt may go better."""
    add_event(session, run, EventKind.LOG, {"message": failure.error.message}, now=now)
    if not failure.retry:
        run.error = failure.error
        move(session, run, RunState.FAILED, now=now, reason=failure.error.message)
    else:
        _give_back(session, run, failure.error, now=now)


def release(session: Session, run: Run, *, now: datetime) -> None:
    """Give a run back unharmed: its worker stops, or has stopped it because that was asked for."""
    run.fruitless_attempts = 0
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
    silent = RunError(
        code=Unavailable.code,
        message=f"The worker {run.worker_id!r} fell silent during attempt {run.attempt}.",
    )
    add_event(session, run, EventKind.LOG, {"message": silent.message}, now=now)
    _give_back(session, run, silent, now=now)


def _give_back(session: Session, run: Run, reason: RunError | None, *, now: datetime) -> None:
    """Let a run leave its worker: cancelled if that was asked for, else to the next worker."""
    if run.cancel_requested:
        move(session, run, RunState.CANCELLED, now=now)
    elif reason is not None and run.fruitless_attempts >= MAX_FRUITLESS_ATTEMPTS:
        run.error = RunError(
            code=reason.code,
            message=f"{run.fruitless_attempts} attempts in a row ended before anything was saved; "
            f"the last one: {reason.message}",
            hint=reason.hint,
            traceback=reason.traceback,
        )
        move(session, run, RunState.FAILED, now=now, reason=reason.message)
    else:
        why = None if reason is None else reason.message
        move(session, run, RunState.QUEUED, now=now, reason=why)


def _lease_expired(now: datetime) -> ColumnElement[bool]:
    return and_(Run.state.in_(RUN_LEASED), Run.lease_until < now)


def _storable(value: JsonValue) -> JsonValue:
    """Return `value` with None for a number that JSON cannot write."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
