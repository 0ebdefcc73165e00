"""Runs as their owners see them: submit, look, cancel."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

from pydantic import JsonValue
from sqlalchemy import and_, or_, select
from sqlalchemy.orm import Session

from freesolo.domain.catalog import BaseModelEntry, Catalog, find_model
from freesolo.domain.lifecycle import RUN_ENDED, RunState, next_run_state
from freesolo.domain.manifest import Manifest
from freesolo.domain.refs import EnvRef, adapter_revision
from freesolo.domain.suggest import did_you_mean
from freesolo.domain.train_spec import TrainSpec, check_train_spec, job_secrets, parse_train_spec
from freesolo.errors import IllegalTransition, RunNotFound
from freesolo.schemas import runs as wire
from freesolo.schemas.audit import Action
from freesolo.schemas.environments import EnvironmentPin, PinnedEnvironment
from hub_server.accounts.service import Member, find_project
from hub_server.audit import service as audit
from hub_server.encryption import Vault
from hub_server.environments import service as environments
from hub_server.environments.foundation import pin_with_foundation
from hub_server.identifiers import new_id
from hub_server.models import (
    Checkpoint,
    EnvironmentVersion,
    Project,
    Run,
    RunEvent,
    VersionContents,
)
from hub_server.paging import decode_cursor, encode_cursor, not_a_cursor
from hub_server.secrets import service as secrets

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """A training config with everything it names found, and bound to exact versions."""

    spec: TrainSpec
    model: BaseModelEntry
    project: Project
    environment: PinnedEnvironment
    version: EnvironmentVersion
    declared_secrets: tuple[str, ...]
    handed_secrets: Mapping[str, str] = field(repr=False)


def plan(session: Session, member: Member, new: wire.NewRun, *, catalog: Catalog) -> Plan:
    """Make every check of a submit: the config's own rules, and all that it names.

    Its model, environment, project and secrets have to be there.
    """
    spec = parse_train_spec(new.spec)
    model = find_model(catalog, spec.model)
    check_train_spec(spec, model)
    ref = EnvRef.parse(spec.environment.id)
    environment, version = environments.resolve(session, member, ref)
    project = find_project(session, member, spec.project)
    declared = tuple(sorted({*environment_secrets(session, version.id, spec), *job_secrets(spec)}))
    handed = {name: value.get_secret_value() for name, value in new.secrets.items()}
    secrets.check_given(session, project, declared, handed)
    return Plan(
        spec=spec,
        model=model,
        project=project,
        environment=pin_with_foundation(session, member, environment, version),
        version=version,
        declared_secrets=declared,
        handed_secrets=handed,
    )


def environment_secrets(session: Session, version_id: UUID, spec: TrainSpec) -> frozenset[str]:
    """Return the names of the secrets that a run's environment gets: its own, and the config's."""
    contents = session.get_one(VersionContents, version_id)
    manifest = Manifest.model_validate(contents.manifest)
    return frozenset({*manifest.secrets, *spec.environment.secrets})


def submit(session: Session, member: Member, planned: Plan, *, vault: Vault, now: datetime) -> Run:
    """Queue a run. Its row is the queue's entry; there is no other."""
    run = Run(
        id=new_id("run"),
        org_id=member.org_id,
        project_id=planned.project.id,
        state=RunState.QUEUED,
        spec=planned.spec.model_dump(mode="json"),
        environment_version_id=planned.version.id,
        environment=planned.environment,
        model_id=planned.model.id,
        model_revision=planned.model.revision,
        created_at=now,
        attempt=0,
        event_count=0,
    )
    session.add(run)
    session.flush()
    secrets.keep_for_run(
        session, run, planned.declared_secrets, planned.handed_secrets, vault=vault
    )
    add_event(session, run, wire.EventKind.STATE, {"state": run.state.value}, now=now)
    audit.record(
        session,
        member,
        Action.RUN_SUBMITTED,
        target=run.id,
        now=now,
        environment=f"{planned.environment.ref}@{planned.environment.version}",
        model=run.model_id,
    )
    return run


def find(session: Session, member: Member, run_id: str, *, lock: bool = False) -> Run:
    """Return a run of the member's org, locked against other writers if asked for."""
    query = select(Run).where(Run.id == run_id, Run.org_id == member.org_id)
    run = session.scalars(query.with_for_update() if lock else query).one_or_none()
    if run is None:
        recent = select(Run.id).where(Run.org_id == member.org_id)
        known = session.scalars(recent.order_by(Run.created_at.desc()).limit(1000)).all()
        raise RunNotFound(
            f"There is no run {run_id!r}.",
            hint=did_you_mean(run_id, known) or "`freesolo runs list` shows them.",
        )
    return run


def list_runs(
    session: Session, member: Member, *, cursor: str | None, limit: int
) -> tuple[Sequence[Run], str | None]:
    """Return a page of the org's runs, newest first, and the cursor of the next."""
    query = select(Run).where(Run.org_id == member.org_id)
    if cursor is not None:
        created_at, run_id = _read_cursor(cursor)
        older = and_(Run.created_at == created_at, Run.id < run_id)
        query = query.where(or_(Run.created_at < created_at, older))
    newest_first = query.order_by(Run.created_at.desc(), Run.id.desc())
    found = session.scalars(newest_first.limit(limit + 1)).all()
    page = found[:limit]
    if len(found) <= limit:
        return page, None
    return page, encode_cursor(page[-1].created_at.isoformat(), page[-1].id)


def events_after(session: Session, run: Run, after: int, *, limit: int) -> Sequence[RunEvent]:
    """Return the events that follow number `after`, oldest first, without the bulky samples."""
    return session.scalars(
        select(RunEvent)
        .where(
            RunEvent.run_id == run.id,
            RunEvent.seq > after,
            RunEvent.kind != wire.EventKind.SAMPLE,
        )
        .order_by(RunEvent.seq)
        .limit(limit)
    ).all()


def checkpoints(session: Session, run: Run) -> Sequence[Checkpoint]:
    """Return what a run has saved, by rising step."""
    return session.scalars(
        select(Checkpoint).where(Checkpoint.run_id == run.id).order_by(Checkpoint.step)
    ).all()


def cancel(session: Session, member: Member, run: Run, *, now: datetime) -> None:
    """Stop a run: one that waits at once, one that trains as soon as its worker hears of it."""
    if run.state is RunState.CANCELLED:
        return
    if run.state in RUN_ENDED:
        raise IllegalTransition(f"{run.id} is already {run.state.value}.")
    if run.cancel_requested:
        return
    run.cancel_requested = True
    audit.record(session, member, Action.RUN_CANCELLED, target=run.id, now=now)
    if run.state is RunState.QUEUED:
        move(session, run, RunState.CANCELLED, now=now)


def move(session: Session, run: Run, state: RunState, *, now: datetime) -> None:
    """Change a run's state, as far as `lifecycle` allows it, and say so among its events."""
    run.state = next_run_state(run.state, state)
    if state in RUN_ENDED:
        run.ended_at = now
        secrets.forget(session, run)
    if state in RUN_ENDED or state is RunState.QUEUED:
        run.lease_token = run.lease_until = run.worker_id = None
    add_event(session, run, wire.EventKind.STATE, {"state": state.value}, now=now)
    logger.info("run moved", extra={"run": run.id, "attempt": run.attempt, "state": state.value})


def add_event(
    session: Session,
    run: Run,
    kind: wire.EventKind,
    data: dict[str, JsonValue],
    *,
    now: datetime,
    step: int | None = None,
) -> None:
    """Append an event. The run's row counts them, so whoever appends holds it locked."""
    run.event_count += 1
    session.add(
        RunEvent(
            run_id=run.id,
            seq=run.event_count,
            attempt=run.attempt,
            kind=kind,
            data=data,
            step=step,
            created_at=now,
        )
    )


def run_view(run: Run) -> wire.Run:
    """Return a run as it goes over the wire."""
    return wire.Run(
        id=run.id,
        state=run.state,
        attempt=run.attempt,
        spec=run.spec,
        model=run.model_id,
        environment=environment_pin(run.environment),
        project=run.project_id,
        model_revision=run.model_revision,
        adapter_revision=run.adapter_revision,
        cancel_requested=run.cancel_requested,
        error=run.error,
        metrics=run.metrics,
        step=run.step,
        total_steps=run.total_steps,
        created_at=run.created_at,
        started_at=run.started_at,
        ended_at=run.ended_at,
    )


def event_view(event: RunEvent) -> wire.RunEvent:
    """Return an event as it goes over the wire."""
    return wire.RunEvent.model_validate(event, from_attributes=True)


def checkpoint_view(checkpoint: Checkpoint) -> wire.Checkpoint:
    """Return a checkpoint as it goes over the wire."""
    digest = checkpoint.adapter.tree_digest
    return wire.Checkpoint(
        step=checkpoint.step,
        digest=digest,
        revision=adapter_revision(checkpoint.run_id, checkpoint.step, digest),
        attempt=checkpoint.attempt,
        created_at=checkpoint.created_at,
    )


def environment_pin(environment: PinnedEnvironment) -> EnvironmentPin:
    """Return the part of a resolved version that identifies it."""
    return EnvironmentPin.model_validate(environment, from_attributes=True)


def _read_cursor(cursor: str) -> tuple[datetime, str]:
    created_at, run_id = decode_cursor(cursor, parts=2)
    try:
        moment = datetime.fromisoformat(created_at)
    except ValueError:
        raise not_a_cursor(cursor) from None
    # As `list_runs` writes it: another zone may lie outside of what UTC can say.
    if moment.tzinfo != UTC:
        raise not_a_cursor(cursor)
    return moment, run_id
