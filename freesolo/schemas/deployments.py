"""Deployments, and what the gateway needs to know to serve them."""

from datetime import datetime

from pydantic import Field, JsonValue

from freesolo.domain.catalog import BaseModelEntry
from freesolo.domain.lifecycle import DeploymentState
from freesolo.domain.prices import Prices
from freesolo.domain.rates import UNLIMITED, KeyLimits
from freesolo.schemas.base import Artifact, Digest, Page, Wire
from freesolo.schemas.runs import RunError


class NewDeployment(Wire):
    """The body of `POST /v1/deployments`: `RUN_ID`, `RUN_ID/step-N` or a full revision.

    With `stage` it is served by its full revision only. With `dry_run` every check is made and
    nothing is stored.
    """

    adapter: str
    stage: bool = False
    dry_run: bool = False


class DeploymentPlan(Wire):
    """What a deploy would do: the answer of `POST /v1/deployments` with `dry_run`."""

    model: str
    revision: str
    base_model: str
    active_revision: str | None = Field(description="What the alias points to now.")
    moves_alias: bool = Field(description="Whether the alias would point to another revision.")
    deployment: str | None = Field(
        description="The deployment that serves the revision, or is about to, and would be returned."
    )


class Deployment(Wire):
    """One try at serving a revision. `model` is its alias; what is ready answers by `revision` too."""

    id: str
    model: str
    revision: str
    base_model: str
    state: DeploymentState
    staged: bool = Field(description="Served by its revision only: the alias never pointed to it.")
    active: bool = Field(description="Whether the alias points to this deployment now.")
    error: RunError | None = None
    created_at: datetime
    ready_at: datetime | None = None


class DeploymentList(Page):
    """The answer of `GET /v1/deployments`, newest first; without `all`, only what is live or coming."""

    deployments: list[Deployment]


class DeploymentTask(Wire):
    """A deployment that a gateway has claimed. The answer of `POST /v1/gateway/deployments/claim`.

    It says whether the adapter was trained to think, and in which form to answer, in vLLM's terms.
    """

    id: str
    token: str
    lease_seconds: float
    model: str
    revision: str
    adapter: Artifact
    base_model: BaseModelEntry
    thinking: bool | None = None
    structured_outputs: dict[str, JsonValue] | None = None


class Advance(Wire):
    """The body of `POST /v1/gateway/deployments/{id}/advance`: loading -> smoking -> ready | failed."""

    token: str
    state: DeploymentState
    error: RunError | None = None


class ResolveTarget(Wire):
    """The body of `POST /v1/gateway/resolve`. `key_hash` is the SHA-256 of the caller's key, in hex.

    `org` is the one that the caller named, for a key that has several.
    """

    key_hash: str
    model: str
    org: str | None = None


class Target(Wire):
    """What a key gets under a model name: the base model alone, or with one adapter revision.

    With `prepaid`, money is set aside before it is asked; `limits` are the key's. An adapter says whether it was trained to
    think, and in which form to answer, in vLLM's terms.
    """

    org: str
    key_id: str
    prices: Prices
    prepaid: bool = False
    limits: KeyLimits = UNLIMITED
    model: str
    base_model: BaseModelEntry
    revision: str | None = None
    created_at: datetime | None = None
    adapter: Artifact | None = None
    thinking: bool | None = None
    structured_outputs: dict[str, JsonValue] | None = None


class KeyHash(Wire):
    """The body of `POST /v1/gateway/models`."""

    key_hash: str
    org: str | None = None


class ServedModel(Wire):
    """One name a key may ask the gateway for."""

    id: str
    base_model: str
    revision: str | None = None
    context: int
    created_at: datetime | None = None


class ServedModelList(Wire):
    """The answer of `POST /v1/gateway/models`."""

    models: list[ServedModel]


class StoredBlob(Wire):
    """The answer of `PUT /v1/blobs/{digest}`."""

    digest: Digest
    size: int
