"""Deployments, and what the gateway needs to know to serve them."""

from datetime import datetime

from pydantic import Field, JsonValue

from freesolo.domain.catalog import BaseModelEntry
from freesolo.domain.lifecycle import DeploymentState
from freesolo.domain.prices import Prices
from freesolo.schemas.base import Artifact, Digest, Wire
from freesolo.schemas.runs import RunError


class NewDeployment(Wire):
    """The body of `POST /v1/deployments`: `RUN_ID`, `RUN_ID/step-N` or a full revision."""

    adapter: str


class Deployment(Wire):
    """One try at serving a revision under an alias. `model` is the alias that clients ask for."""

    id: str
    model: str
    revision: str
    base_model: str
    state: DeploymentState
    active: bool = Field(description="Whether the alias points to this revision now.")
    error: RunError | None = None
    created_at: datetime
    ready_at: datetime | None = None


class DeploymentList(Wire):
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
    """The body of `POST /v1/gateway/resolve`. `key_hash` is the SHA-256 of the caller's key, in hex."""

    key_hash: str
    model: str


class Target(Wire):
    """What a key gets under a model name: the base model alone, or with one adapter revision.

    With `prepaid`, money is set aside before it is asked. An adapter says whether it was trained to
    think, and in which form to answer, in vLLM's terms.
    """

    org: str
    key_id: str
    prices: Prices
    prepaid: bool = False
    model: str
    base_model: BaseModelEntry
    revision: str | None = None
    adapter: Artifact | None = None
    thinking: bool | None = None
    structured_outputs: dict[str, JsonValue] | None = None


class KeyHash(Wire):
    """The body of `POST /v1/gateway/models`."""

    key_hash: str


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
