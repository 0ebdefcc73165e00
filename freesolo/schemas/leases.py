"""The worker's side: claim a run, keep its lease alive, report what happens.

Every call on a claimed run carries the lease's token in the header `Freesolo-Lease`; a token that
is no longer the current one is answered with `lease_lost_conflict`, and the worker lets go.
"""

from datetime import datetime
from hashlib import sha256

from pydantic import ConfigDict, Field

from freesolo.domain.catalog import BaseModelEntry
from freesolo.domain.devices import CPU
from freesolo.domain.train_spec import TrainSpec
from freesolo.domain.watchdog import Phase
from freesolo.schemas.adapters import PinnedAdapter
from freesolo.schemas.base import Artifact, Wire
from freesolo.schemas.environments import PinnedEnvironment
from freesolo.schemas.provenance import Provenance
from freesolo.schemas.runs import NewEvent, RunError
from freesolo.schemas.secrets import SentSecret

LEASE_HEADER = "Freesolo-Lease"


class Claim(Wire):
    """The body of `POST /v1/leases/claim`."""

    worker_id: str = Field(min_length=1, max_length=200)
    device_type: str = Field(
        default=CPU, min_length=1, max_length=100, description="Name of the worker's devices."
    )
    device_count: int = Field(default=1, ge=1, le=1024, description="How many it has.")


class ResumePoint(Wire):
    """The newest complete checkpoint of a run: its adapter, and what is needed to go on from it."""

    step: int
    adapter: Artifact
    state: Artifact


class PinnedTeacher(Wire):
    """The base model that teaches, with an adapter or without."""

    model: BaseModelEntry
    adapter: PinnedAdapter | None = None


class Lease(Wire):
    """A worker's timed claim on one attempt of a run. The answer of a claim; 204 if nothing waits.

    `warm_start` is what the run began from, also where `resume` is what this attempt goes on from.
    `teacher` is None for one that is an endpoint, which the config names.
    """

    run_id: str
    attempt: int
    token: str
    lease_seconds: float
    spec: TrainSpec
    environment: PinnedEnvironment
    model: BaseModelEntry
    resume: ResumePoint | None = None
    warm_start: PinnedAdapter | None = None
    teacher: PinnedTeacher | None = None


def ticket_of(token: str) -> str:
    """Return what a worker's key gets the lease of `token` for, once, and tells nothing of it.

    It may be shown where the token may not: in the command line of a process on another machine.
    """
    return sha256(f"ticket of {token}".encode()).hexdigest()


class Collection(Wire):
    """The body of `POST /v1/leases/{run_id}/collect`: the ticket to a lease that another process got."""

    ticket: str = Field(min_length=64, max_length=64)


class LeaseStatus(Wire):
    """The answer of `GET /v1/leases/{run_id}`: what the run's owner wants, and what its job says."""

    cancel_requested: bool
    phase: Phase | None = Field(description="None until this attempt has said something.")
    step: int


class LeaseSecrets(Wire):
    """The answer of `GET /v1/leases/{run_id}/secrets`, by name.

    `secrets` is what the run's environment gets, `job` what the training process keeps to itself.
    Apart from the lease, which is written to a file.
    """

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    secrets: dict[str, SentSecret]
    job: dict[str, SentSecret] = Field(default_factory=dict)


class Heartbeat(Wire):
    """The answer of `POST /v1/leases/{run_id}/heartbeat`."""

    cancel_requested: bool
    lease_until: datetime


class TrainedOn(Wire):
    """What a job found itself on: `cpu-2` for two cores, else the accelerator's own name."""

    name: str = Field(min_length=1, max_length=100)
    memory: int = Field(ge=1, le=2**50, description="Bytes, the free ones and the others.")


class Started(Wire):
    """The body of `POST /v1/leases/{run_id}/start`: the run is training now, and on what."""

    total_steps: int
    provenance: Provenance | None = None
    device: TrainedOn | None = None


class EventBatch(Wire):
    """The body of `POST /v1/leases/{run_id}/events`. A batch may be sent again: none is kept twice."""

    first: int = Field(
        ge=0, le=2**30, description="How many events this attempt sent before the batch."
    )
    events: list[NewEvent] = Field(max_length=1000)
    phase: Phase | None = Field(default=None, description="What the attempt is doing now.")


class NewCheckpoint(Wire):
    """The body of `POST /v1/leases/{run_id}/checkpoints`; both blobs were stored before."""

    step: int = Field(ge=1)
    adapter: Artifact
    state: Artifact


class Completion(Wire):
    """The body of `POST /v1/leases/{run_id}/complete`: the step whose checkpoint is the result."""

    step: int = Field(ge=1)


class Release(Wire):
    """The body of `POST /v1/leases/{run_id}/release`: why nothing was tried, if that is so."""

    reason: RunError | None = None


class Failure(Wire):
    """The body of `POST /v1/leases/{run_id}/fail`. With `retry` the run may be tried again."""

    error: RunError
    retry: bool = False
