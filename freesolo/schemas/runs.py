"""Runs, their events and their checkpoints, as their owner sees them."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from pydantic import ConfigDict, Field, JsonValue, SecretStr

from freesolo.domain.lifecycle import RunState
from freesolo.domain.secrets import MAX_NAMES, SecretName
from freesolo.domain.train_spec import TrainSpec
from freesolo.domain.watchdog import Phase
from freesolo.schemas.base import Digest, Page, Wire
from freesolo.schemas.environments import EnvironmentPin


class NewRun(Wire):
    """The body of `POST /v1/runs`. With `dry_run` every check is made and nothing is stored.

    `secrets` are for this run alone, and come before the project's own. Dumped, they are stars: what
    is made of a request, such as its fingerprint, knows their names and not their values.
    """

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    spec: dict[str, JsonValue]
    dry_run: bool = False
    secrets: dict[SecretName, SecretStr] = Field(default_factory=dict, max_length=2 * MAX_NAMES)


class RunError(Wire):
    """Why a run failed: a code and message of `freesolo.errors`, and the author's frames if theirs."""

    code: str
    message: str
    hint: str | None = None
    traceback: str | None = None


class Run(Wire):
    """One training job. `metrics` holds the last value of each; `adapter_revision` is set once done."""

    id: str
    state: RunState
    attempt: int
    spec: dict[str, JsonValue] = Field(
        description="The config with all defaults, by the rules of the day it was submitted."
    )
    model: str
    environment: EnvironmentPin
    project: UUID
    model_revision: str
    adapter_revision: str | None = None
    cancel_requested: bool = False
    error: RunError | None = None
    metrics: dict[str, float] = Field(default_factory=dict)
    step: int = 0
    total_steps: int | None = None
    phase: Phase | None = Field(default=None, description="What it does now, while it is trained.")
    waits_because: str | None = Field(
        default=None, description="Why a queued run waits, if no known worker can serve it."
    )
    created_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None


class RunPlan(Wire):
    """The answer to a dry run: what would be trained, on what, and the secrets that it would get."""

    spec: TrainSpec
    environment: EnvironmentPin
    model_revision: str
    secrets: list[str] = Field(default_factory=list, description="Their names.")
    warnings: list[str] = Field(
        default_factory=list, description="What would not keep the run from being queued."
    )


class AttemptOutcome(StrEnum):
    """How an attempt at a run ended."""

    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    RETRIED = "retried"
    LOST = "lost"
    RELEASED = "released"


class Attempt(Wire):
    """One try at a run: who made it, from which step to which, and how it ended.

    `retried` ended with an error that may pass, `lost` in silence, `released` because its worker was
    asked to stop.
    """

    attempt: int
    worker: str
    started_at: datetime
    ended_at: datetime | None = None
    first_step: int = Field(description="The step that it went on from.")
    last_step: int | None = Field(default=None, description="The last step that it told of.")
    outcome: AttemptOutcome | None = None
    error: RunError | None = None


class AttemptList(Wire):
    """The answer of `GET /v1/runs/{id}/attempts`, in their order."""

    attempts: list[Attempt]


class RunList(Page):
    """The answer of `GET /v1/runs`, newest first."""

    runs: list[Run]


class EventKind(StrEnum):
    """What an event carries."""

    STATE = "state"
    LOG = "log"
    METRICS = "metrics"


class NewEvent(Wire):
    """An event as the worker sends it. `data` is `{"message"}` for logs, `{name: number}` for metrics."""

    kind: EventKind
    data: dict[str, JsonValue]
    step: int | None = None


class RunEvent(NewEvent):
    """An event as the hub keeps it; `seq` rises by one within a run."""

    seq: int
    attempt: int
    created_at: datetime


class EventPage(Wire):
    """The answer of `GET /v1/runs/{id}/events?after=SEQ`, with the run's state at that moment."""

    events: list[RunEvent]
    state: RunState


class Checkpoint(Wire):
    """What a run saved after `step`; `digest` is the tree digest of its adapter."""

    step: int
    digest: Digest
    revision: str = Field(description="The immutable name by which this adapter can be deployed.")
    attempt: int
    created_at: datetime
    adapter_kept: bool = Field(default=True, description="Whether it can still be deployed.")
    state_kept: bool = Field(
        default=False, description="Whether the run can still be resumed from here."
    )


class CheckpointList(Wire):
    """The answer of `GET /v1/runs/{id}/checkpoints`, by rising step."""

    checkpoints: list[Checkpoint]
