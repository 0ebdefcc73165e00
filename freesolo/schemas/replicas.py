"""Replicas: engines that run by themselves, and that gateways find through the hub."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from freesolo.schemas.base import Wire

# How long the host of an engine keeps an adapter in it that a gateway has claimed.
CLAIM_SECONDS = 30.0

Url = Annotated[str, Field(pattern=r"^https?://[^\s/?#@]+$", max_length=200)]


class ReplicaState(StrEnum):
    """Whether a replica takes requests, or only finishes those that it has."""

    READY = "ready"
    DRAINING = "draining"


class NewReplica(Wire):
    """The body of `PUT /v1/gateway/replicas/{life}`, said again to renew the lease.

    `served_as` is that of the base model (`BaseModelEntry.served_as`). Requests go to `url`, adapters
    are asked for at `host_url`, both with `api_key`.
    """

    base_model: str = Field(max_length=200)
    served_as: str = Field(pattern=r"^[0-9a-f]{16}$")
    url: Url
    host_url: Url
    api_key: str = Field(min_length=16, max_length=200)
    state: ReplicaState


class ReplicaLease(Wire):
    """The answer to it: a replica that says nothing for so long is no longer found."""

    lease_seconds: float


class Replica(NewReplica):
    """A replica as gateways see it. `life` names this life of its engine."""

    life: str
    started_at: datetime


class ReplicaList(Wire):
    """The answer of `GET /v1/gateway/replicas`."""

    replicas: list[Replica]
