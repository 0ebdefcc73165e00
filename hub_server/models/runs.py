"""Runs, which are also the queue, with their events and checkpoints."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import JSON, ForeignKey, Index, String, false, text, true
from sqlalchemy.orm import Mapped, mapped_column

from freesolo.domain.lifecycle import RunState
from freesolo.domain.watchdog import Phase
from freesolo.schemas.adapters import PinnedAdapter
from freesolo.schemas.base import Artifact
from freesolo.schemas.environments import PinnedEnvironment
from freesolo.schemas.leases import TrainedOn
from freesolo.schemas.provenance import Provenance
from freesolo.schemas.runs import AttemptOutcome, EventKind, RunError
from hub_server.models.base import AsJson, Base, JsonObject, state_type


class Run(Base):
    """One training job, what it is pinned to, and the lease of the worker that has it.

    `spec` is what a `TrainSpec` was when the run was submitted; the rules may be others by now.
    `fruitless_attempts` counts the attempts since something was last saved; `reported_events`, what
    the worker of this attempt has reported. `provenance` is what the newest attempt trains with,
    `device` what on: the next estimate is made from it. An empty
    `gpu_type` stands for any.
    """

    __tablename__ = "runs"
    __table_args__ = (Index(None, "state", "created_at"), Index(None, "org_id", "created_at"))

    id: Mapped[str] = mapped_column(String(14), primary_key=True)
    org_id: Mapped[UUID] = mapped_column(ForeignKey("orgs.id"))
    project_id: Mapped[UUID] = mapped_column(ForeignKey("projects.id"))
    state: Mapped[RunState] = mapped_column(state_type(RunState, "state"))
    spec: Mapped[JsonObject]
    environment_version_id: Mapped[UUID] = mapped_column(ForeignKey("environment_versions.id"))
    environment: Mapped[PinnedEnvironment] = mapped_column(AsJson(PinnedEnvironment))
    model_id: Mapped[str] = mapped_column(String(200))
    model_revision: Mapped[str] = mapped_column(String(200))
    warm_start: Mapped[PinnedAdapter | None] = mapped_column(AsJson(PinnedAdapter))
    teacher_model_id: Mapped[str | None] = mapped_column(String(200))
    teacher_model_revision: Mapped[str | None] = mapped_column(String(200))
    teacher_adapter: Mapped[PinnedAdapter | None] = mapped_column(AsJson(PinnedAdapter))
    reproduces: Mapped[str | None] = mapped_column(String(14))
    created_at: Mapped[datetime]

    attempt: Mapped[int] = mapped_column(default=0)
    fruitless_attempts: Mapped[int] = mapped_column(default=0)
    worker_id: Mapped[str | None] = mapped_column(String(200))
    lease_token: Mapped[str | None] = mapped_column(String(64))
    lease_until: Mapped[datetime | None]
    lease_collected: Mapped[bool] = mapped_column(default=False, server_default=false())
    cancel_requested: Mapped[bool] = mapped_column(default=False)
    gpu_type: Mapped[str] = mapped_column(String(100), default="", server_default="")
    # Nothing reads it; it stays for hubs that run beside this one, as long as there may be any.
    gpu_count: Mapped[int] = mapped_column(default=1, server_default="1")

    event_count: Mapped[int] = mapped_column(default=0)
    reported_events: Mapped[int] = mapped_column(default=0)
    metrics: Mapped[dict[str, float]] = mapped_column(JSON, default=dict)
    step: Mapped[int] = mapped_column(default=0)
    total_steps: Mapped[int | None]
    device: Mapped[TrainedOn | None] = mapped_column(AsJson(TrainedOn))
    phase: Mapped[Phase | None] = mapped_column(state_type(Phase, "phase"))
    final_step: Mapped[int | None]
    adapter_revision: Mapped[str | None] = mapped_column(String(100))
    error: Mapped[RunError | None] = mapped_column(AsJson(RunError))
    provenance: Mapped[Provenance | None] = mapped_column(AsJson(Provenance))
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]


class RunAttempt(Base):
    """One try at a run, as its owner is told of it later."""

    __tablename__ = "run_attempts"

    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id"), primary_key=True)
    attempt: Mapped[int] = mapped_column(primary_key=True)
    worker_id: Mapped[str] = mapped_column(String(200))
    started_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    first_step: Mapped[int]
    last_step: Mapped[int | None]
    outcome: Mapped[AttemptOutcome | None] = mapped_column(state_type(AttemptOutcome, "outcome"))
    error: Mapped[RunError | None] = mapped_column(AsJson(RunError))


class KnownWorker(Base):
    """A worker that has asked for work, and the devices it has."""

    __tablename__ = "known_workers"

    worker_id: Mapped[str] = mapped_column(String(200), primary_key=True)
    device_type: Mapped[str] = mapped_column(String(100))
    device_count: Mapped[int]
    last_seen_at: Mapped[datetime]


class RunEvent(Base):
    """One thing that happened in a run; `seq` counts from 1 within it."""

    __tablename__ = "run_events"
    # One kind of a run's events, step by step.
    __table_args__ = (Index(None, "run_id", "kind", "step", "seq"),)

    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id"), primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True)
    attempt: Mapped[int]
    kind: Mapped[EventKind] = mapped_column(state_type(EventKind, "kind"))
    data: Mapped[JsonObject]
    step: Mapped[int | None]
    created_at: Mapped[datetime]


class Checkpoint(Base):
    """What a run saved after a step. Its blobs were stored before this row.

    Without `state` the run cannot go on from here; without `adapter_kept` only the adapter's
    description is left.
    """

    __tablename__ = "checkpoints"
    # What may be dropped is looked for all the time, and few states are kept.
    __table_args__ = (
        Index(
            None,
            "run_id",
            sqlite_where=text("state IS NOT NULL"),
            postgresql_where=text("state IS NOT NULL"),
        ),
    )

    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id"), primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True)
    attempt: Mapped[int]
    adapter: Mapped[Artifact] = mapped_column(AsJson(Artifact))
    adapter_kept: Mapped[bool] = mapped_column(default=True, server_default=true())
    state: Mapped[Artifact | None] = mapped_column(AsJson(Artifact))
    created_at: Mapped[datetime]
