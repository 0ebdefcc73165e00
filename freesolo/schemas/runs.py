"""Runs, their events and their checkpoints, as their owner sees them."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Self
from uuid import UUID

from pydantic import ConfigDict, Field, JsonValue, SecretStr, model_validator

from freesolo.domain.estimates import Estimate
from freesolo.domain.lifecycle import RunState
from freesolo.domain.secrets import MAX_NAMES, SecretName
from freesolo.domain.train_spec import TrainSpec
from freesolo.domain.watchdog import Phase
from freesolo.schemas.adapters import AdapterLineage
from freesolo.schemas.base import Digest, Page, Wire
from freesolo.schemas.environments import EnvironmentPin
from freesolo.schemas.provenance import Provenance


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


class TeacherPin(Wire):
    """Who teaches a run, by one base model at one revision, with an adapter or without."""

    model: str
    model_revision: str
    adapter: AdapterLineage | None = None


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
    warm_start: AdapterLineage | None = Field(
        default=None, description="The adapter that it went on from, and where that came from."
    )
    teacher: TeacherPin | None = None
    reproduces: str | None = Field(default=None, description="The run that it does over again.")
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


class RunDetail(Run):
    """The answer of `GET /v1/runs/{id}`. `provenance` is known once its training has begun."""

    attempts: list[Attempt] = Field(default_factory=list)
    provenance: Provenance | None = None


class Reproduction(Wire):
    """The body of `POST /v1/runs/{id}/reproduce`. Secrets are handed in as with a new run."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    secrets: dict[SecretName, SecretStr] = Field(default_factory=dict, max_length=2 * MAX_NAMES)


class RunPlan(Wire):
    """The answer to a dry run: what would be trained, on what, with which secrets, at what cost.

    `secrets` are names: what the environment gets. `job_secrets` stay with the training process.
    """

    spec: TrainSpec
    environment: EnvironmentPin
    model_revision: str
    warm_start: AdapterLineage | None = None
    teacher: TeacherPin | None = None
    secrets: list[str] = Field(default_factory=list, description="Their names.")
    job_secrets: list[str] = Field(default_factory=list, description="Their names.")
    estimate: Estimate = Field(description="What it would take.")
    warnings: list[str] = Field(
        default_factory=list, description="What would not keep the run from being queued."
    )


class RunList(Page):
    """The answer of `GET /v1/runs`, newest first."""

    runs: list[Run]


class EventKind(StrEnum):
    """What an event carries."""

    STATE = "state"
    LOG = "log"
    METRICS = "metrics"
    SAMPLE = "sample"


class SampleMessage(Wire):
    """One message of a sample, as text."""

    role: str
    content: str


class Sample(Wire):
    """One rollout of a step: what the model was asked, what followed, what that was worth.

    `completion` holds the model's messages and the environment's. Long texts are cut in the middle,
    and say so. A rollout that could not be scored has an `error` and no reward.
    """

    example: int = Field(description="Number of the dataset's row, from 0.")
    rollout: int = Field(description="Which of the example's rollouts in this step, from 0.")
    messages: list[SampleMessage]
    completion: list[SampleMessage]
    reward: float | None = None
    advantage: float | None = None
    finish: str = Field(description="Why it ended, such as `stop`, `length` or `turn_limit`.")
    tokens: int = Field(description="How many the model sampled.")
    error: str | None = None
    metrics: dict[str, float] = Field(default_factory=dict)


class NewEvent(Wire):
    """An event as the worker sends it.

    `data` is `{"message"}` for logs, `{name: number}` for metrics, a `Sample` for samples.
    """

    kind: EventKind
    data: dict[str, JsonValue]
    step: int | None = None

    @model_validator(mode="after")
    def _whole_sample(self) -> Self:
        if self.kind is EventKind.SAMPLE:
            if self.step is None:
                raise ValueError("a sample belongs to a step")
            Sample.model_validate(self.data)
        return self


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


class StepMetrics(Wire):
    """What was measured in one step, by name beside `step`."""

    model_config = ConfigDict(frozen=True, extra="allow")
    __pydantic_extra__: dict[str, float] = Field(init=False)

    step: int

    @property
    def values(self) -> Mapping[str, float]:
        """The measurements by name, without the step."""
        return self.__pydantic_extra__


class MetricsPage(Page):
    """The answer of `GET /v1/runs/{id}/metrics`, by rising step; each step is there once."""

    steps: list[StepMetrics]


class RunSample(Sample):
    """A sample as the hub keeps it."""

    step: int
    attempt: int
    created_at: datetime


class SampleList(Page):
    """The answer of `GET /v1/runs/{id}/samples`, the newest first."""

    samples: list[RunSample]
