"""Runs as their owners see them: submit, look, cancel."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from pydantic import JsonValue
from sqlalchemy import ColumnElement, and_, delete, exists, not_, or_, select
from sqlalchemy.orm import Session

from freesolo.domain.catalog import BaseModelEntry, Catalog, find_model
from freesolo.domain.devices import Devices, why_none_serves
from freesolo.domain.estimates import Estimate
from freesolo.domain.lifecycle import RUN_ENDED, RUN_LEASED, RunState, next_run_state
from freesolo.domain.manifest import Manifest
from freesolo.domain.refs import AdapterRef, EnvRef, adapter_revision
from freesolo.domain.suggest import did_you_mean
from freesolo.domain.teachers import TeacherEndpoint
from freesolo.domain.train_spec import (
    OpdSpec,
    TrainSpec,
    check_train_spec,
    job_secrets,
    needed_job_secrets,
    parse_train_spec,
)
from freesolo.errors import FreesoloError, IllegalTransition, InvalidTrainSpec, Problem, RunNotFound
from freesolo.schemas import runs as wire
from freesolo.schemas.adapters import PinnedAdapter
from freesolo.schemas.audit import Action
from freesolo.schemas.environments import EnvironmentPin, PinnedEnvironment
from freesolo.schemas.leases import PinnedTeacher
from hub_server.accounts.service import Member, find_project
from hub_server.audit import service as audit
from hub_server.blobs import BlobStore
from hub_server.encryption import Vault
from hub_server.environments import service as environments
from hub_server.environments.foundation import pin_with_foundation
from hub_server.identifiers import new_id
from hub_server.models import (
    Checkpoint,
    EnvironmentVersion,
    KnownWorker,
    Project,
    Run,
    RunAttempt,
    RunEvent,
    VersionContents,
)
from hub_server.paging import decode_cursor, encode_cursor, not_a_cursor
from hub_server.runs import adapters, estimates
from hub_server.secrets import service as secrets
from hub_server.storage import service as storage

logger = logging.getLogger(__name__)

# A worker that asked for work so long ago, and trains nothing, is no longer counted on.
_KNOWN = timedelta(minutes=10)


@dataclass(frozen=True)
class Pins:
    """What a run builds on besides its base model and environment, bound to exact states."""

    warm_start: PinnedAdapter | None = None
    teacher: PinnedTeacher | None = None

    @property
    def adapters(self) -> list[PinnedAdapter]:
        """Return the adapters whose bytes the run needs."""
        found = (self.warm_start, self.teacher.adapter if self.teacher else None)
        return [adapter for adapter in found if adapter is not None]


@dataclass(frozen=True)
class GivenSecrets:
    """The names of what a run's environment and its training process get, and what was handed in."""

    environment: tuple[str, ...]
    job: tuple[str, ...]
    handed: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True)
class Plan:
    """A training config with everything it names found, and bound to exact versions.

    `reproduces` is the id of the run that it was taken from, if it is not a new one.
    """

    spec: TrainSpec
    model: BaseModelEntry
    pins: Pins
    project: Project
    environment: PinnedEnvironment
    version: EnvironmentVersion
    secrets: GivenSecrets
    reproduces: str | None = None

    @property
    def models(self) -> list[BaseModelEntry]:
        """Return the base models that the run needs: its own, and its teacher's."""
        return [self.model, *([self.pins.teacher.model] if self.pins.teacher else [])]


def plan(session: Session, member: Member, new: wire.NewRun, *, catalog: Catalog) -> Plan:
    """Make every check of a submit: the config's own rules, and all that it names.

    Its model, adapters, environment, project and secrets have to be there, and it has to fit into the
    device that it asks for.
    """
    spec = parse_train_spec(new.spec)
    model = find_model(catalog, spec.model)
    check_train_spec(spec, model)
    pins = Pins(
        warm_start=_warm_start(session, member, spec, model),
        teacher=_teacher(session, member, spec, catalog),
    )
    ref = EnvRef.parse(spec.environment.id)
    environment, version = environments.resolve(session, member, ref)
    estimates.refuse_misfit(session, member, spec, model, version)
    project = find_project(session, member, spec.project)
    handed = {name: value.get_secret_value() for name, value in new.secrets.items()}
    return Plan(
        spec=spec,
        model=model,
        pins=pins,
        project=project,
        environment=pin_with_foundation(session, member, environment, version),
        version=version,
        secrets=given_secrets(session, project, version, spec, handed),
    )


def _warm_start(
    session: Session, member: Member, spec: TrainSpec, model: BaseModelEntry
) -> PinnedAdapter | None:
    if spec.train.init_from_adapter is None:
        return None
    with _wrong_at("train.init_from_adapter"):
        ref = AdapterRef.parse(spec.train.init_from_adapter)
        adapter = adapters.of_run(session, find(session, member, ref.run_id), ref)
        adapters.require_fit(adapter, model)
        return adapters.pin(adapter)


def _teacher(
    session: Session, member: Member, spec: TrainSpec, catalog: Catalog
) -> PinnedTeacher | None:
    """Return who teaches a run, None if nobody does, or an endpoint, which cannot be pinned."""
    if not isinstance(spec, OpdSpec) or isinstance(spec.train.teacher, TeacherEndpoint):
        return None
    with _wrong_at("train.teacher_model"):
        ref = spec.train.teacher
        if isinstance(ref, str):
            return PinnedTeacher(model=find_model(catalog, ref))
        adapter = adapters.of_run(session, find(session, member, ref.run_id), ref)
        model = find_model(catalog, adapter.run.model_id)
        adapters.require_fit(adapter, model)
        return PinnedTeacher(model=model, adapter=adapters.pin(adapter))


@contextmanager
def _wrong_at(path: str) -> Iterator[None]:
    """Say of whatever the config names at `path`, and which is not there or does not fit, where that is."""
    try:
        yield
    except FreesoloError as error:
        raise InvalidTrainSpec(
            f"The config is wrong at `{path}`: {error.message}",
            problems=[Problem(path, error.message, "adapter")],
            hint=error.hint,
        ) from None


def given_secrets(
    session: Session,
    project: Project,
    version: EnvironmentVersion,
    spec: TrainSpec,
    handed: Mapping[str, str],
) -> GivenSecrets:
    """Return which secrets a run gets; raise if one is missing, or handed in for nothing."""
    contents = session.get_one(VersionContents, version.id)
    manifest = Manifest.model_validate(contents.manifest)
    declared = tuple(sorted({*manifest.secrets, *spec.environment.secrets}))
    job = secrets.check_given(
        session,
        project,
        declared,
        handed,
        job=job_secrets(spec),
        needed=needed_job_secrets(spec),
    )
    return GivenSecrets(environment=declared, job=job, handed=handed)


def submit(
    session: Session,
    member: Member,
    planned: Plan,
    *,
    vault: Vault,
    blobs: BlobStore,
    now: datetime,
) -> Run:
    """Queue a run. Its row is the queue's entry; there is no other."""
    digests = [adapter.archive_digest for adapter in planned.pins.adapters]
    storage.require(session, blobs, digests, now=now)
    teacher = planned.pins.teacher
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
        warm_start=planned.pins.warm_start,
        teacher_model_id=teacher and teacher.model.id,
        teacher_model_revision=teacher and teacher.model.revision,
        teacher_adapter=teacher and teacher.adapter,
        reproduces=planned.reproduces,
        gpu_type=planned.spec.gpu.type or "",
        created_at=now,
        attempt=0,
        event_count=0,
    )
    session.add(run)
    session.flush()
    names = (*planned.secrets.environment, *planned.secrets.job)
    secrets.keep_for_run(session, run, names, planned.secrets.handed, vault=vault)
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


def why_it_waits(session: Session, wanted: str | None, *, now: datetime) -> str | None:
    """Say why a run that wants such a device would wait if no known worker has one, else None."""
    asked_lately = KnownWorker.last_seen_at >= now - _KNOWN
    known = session.scalars(select(KnownWorker).where(or_(asked_lately, _trains())))
    return why_none_serves(
        wanted, (Devices(worker.device_type, worker.device_count) for worker in known)
    )


def forget_workers(session: Session, *, now: datetime) -> None:
    """Forget the workers that have not asked for work for a day, and train nothing."""
    old = KnownWorker.last_seen_at < now - timedelta(days=1)
    session.execute(delete(KnownWorker).where(old, not_(_trains())))


def _trains() -> ColumnElement[bool]:
    """Select the workers that hold a lease: these ask for no work meanwhile."""
    return exists().where(Run.worker_id == KnownWorker.worker_id, Run.state.in_(RUN_LEASED))


def end_attempt(
    session: Session,
    run: Run,
    outcome: wire.AttemptOutcome,
    error: wire.RunError | None,
    *,
    now: datetime,
) -> None:
    """Write down how the attempt that has not ended yet did, if there is one."""
    going = session.scalars(
        select(RunAttempt).where(RunAttempt.run_id == run.id, RunAttempt.ended_at.is_(None))
    ).all()
    for attempt in going:
        attempt.ended_at, attempt.outcome, attempt.error = now, outcome, error
        attempt.last_step = run.step


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
        run.lease_token = run.lease_until = run.worker_id = run.phase = None
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


def run_view(run: Run, *, waits_because: str | None = None) -> wire.Run:
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
        warm_start=run.warm_start,
        teacher=_teacher_view(run),
        reproduces=run.reproduces,
        adapter_revision=run.adapter_revision,
        cancel_requested=run.cancel_requested,
        error=run.error,
        metrics=run.metrics,
        step=run.step,
        total_steps=run.total_steps,
        phase=run.phase,
        waits_because=waits_because,
        created_at=run.created_at,
        started_at=run.started_at,
        ended_at=run.ended_at,
    )


def plan_view(planned: Plan, estimate: Estimate, warnings: Sequence[str]) -> wire.RunPlan:
    """Return what a dry run answers."""
    teacher = planned.pins.teacher
    return wire.RunPlan(
        spec=planned.spec,
        environment=environment_pin(planned.environment),
        model_revision=planned.model.revision,
        warm_start=planned.pins.warm_start,
        teacher=teacher
        and wire.TeacherPin(
            model=teacher.model.id,
            model_revision=teacher.model.revision,
            adapter=teacher.adapter,
        ),
        secrets=list(planned.secrets.environment),
        job_secrets=list(planned.secrets.job),
        estimate=estimate,
        warnings=list(warnings),
    )


def _teacher_view(run: Run) -> wire.TeacherPin | None:
    if run.teacher_model_id is None or run.teacher_model_revision is None:
        return None
    return wire.TeacherPin(
        model=run.teacher_model_id,
        model_revision=run.teacher_model_revision,
        adapter=run.teacher_adapter,
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
        adapter_kept=checkpoint.adapter_kept,
        state_kept=checkpoint.state is not None,
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
