"""Webhooks: who is told of an org's changes, and whether they heard."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import Field

from freesolo.schemas.base import Page, Wire
from freesolo.schemas.changes import ChangeKind


class NewWebhook(Wire):
    """The body of `POST /v1/webhooks`. Without `kinds` it is told of every kind of change."""

    url: str = Field(max_length=2000)
    kinds: list[ChangeKind] = Field(default=[], max_length=len(ChangeKind))
    pattern: str = Field(
        default="*", max_length=200, description="Which environments, such as `acme/math-*`."
    )


class Webhook(Wire):
    """An address that is told. One that heard nothing for a day is disabled, until it is enabled."""

    id: UUID
    url: str
    kinds: list[ChangeKind]
    pattern: str
    created_at: datetime
    disabled_at: datetime | None = None


class CreatedWebhook(Webhook):
    """A new webhook with the secret that its deliveries are signed with: shown now or never."""

    secret: str


class WebhookList(Wire):
    """The answer of `GET /v1/webhooks`, the oldest first."""

    webhooks: list[Webhook]


class Delivery(Wire):
    """One change for one webhook. `status_code` and `error` are of the last attempt."""

    id: int
    serial: int
    kind: ChangeKind
    ref: str
    version: str | None = None
    state: Literal["waiting", "delivered", "failed"]
    attempts: int
    status_code: int | None = None
    error: str | None = None
    created_at: datetime
    next_attempt_at: datetime | None = None
    delivered_at: datetime | None = None


class DeliveryList(Page):
    """The answer of `GET /v1/webhooks/{id}/deliveries`, the newest first."""

    deliveries: list[Delivery]
