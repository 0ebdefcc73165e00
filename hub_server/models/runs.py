"""Runs, which are also the queue, with their events and checkpoints."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import JSON, ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from freesolo.domain.lifecycle import RunState
from freesolo.schemas.adapters import PinnedAdapter
from freesolo.schemas.base import Artifact
from freesolo.schemas.environments import PinnedEnvironment
from freesolo.schemas.provenance import Provenance
from freesolo.schemas.runs import EventKind, RunError
from hub_server.models.base import AsJson, Base, JsonObject, state_type


class Run(Base):
    """One training job, what it is pinned to, and the lease of the worker that has it.

    `spec` is what a `TrainSpec` was when the run was submitted; the rules may be others by now.
    `fruitless_attempts` counts the attempts since something was last saved; `reported_events`, what
    the worker of this attempt has reported. `provenance` is what the newest attempt trains with.
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
    cancel_requested: Mapped[bool] = mapped_column(default=False)

    event_count: Mapped[int] = mapped_column(default=0)
    reported_events: Mapped[int] = mapped_column(default=0)
    metrics: Mapped[dict[str, float]] = mapped_column(JSON, default=dict)
    step: Mapped[int] = mapped_column(default=0)
    total_steps: Mapped[int | None]
    final_step: Mapped[int | None]
    adapter_revision: Mapped[str | None] = mapped_column(String(100))
    error: Mapped[RunError | None] = mapped_column(AsJson(RunError))
    provenance: Mapped[Provenance | None] = mapped_column(AsJson(Provenance))
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]


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
    """What a run saved after a step. Its blobs were stored before this row."""

    __tablename__ = "checkpoints"

    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id"), primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True)
    attempt: Mapped[int]
    adapter: Mapped[Artifact] = mapped_column(AsJson(Artifact))
    state: Mapped[Artifact] = mapped_column(AsJson(Artifact))
    created_at: Mapped[datetime]
