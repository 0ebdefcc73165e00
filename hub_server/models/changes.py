"""The feed of what happened to environments, chained by hashes, and the webhooks that follow it."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID, uuid4

from sqlalchemy import JSON, BigInteger, ForeignKey, Index, Integer, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column, relationship

from hub_server.models.base import Base, JsonObject, state_type


class FeedHead(Base):
    """The end of the feed: one row, locked by whoever appends."""

    __tablename__ = "feed_head"

    id: Mapped[int] = mapped_column(primary_key=True)
    serial: Mapped[int] = mapped_column(BigInteger)
    hash: Mapped[str] = mapped_column(String(64))


class Change(Base):
    """One entry of the feed. `hash` covers the hash before it and `entry_hash`.

    `entry_hash` covers the entry with its `nonce`, so that those who may not see the entry can still
    follow the chain without guessing what it holds.
    """

    __tablename__ = "changes"
    __table_args__ = (Index(None, "environment_id", "serial"), Index(None, "org_id", "serial"))

    serial: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    org_id: Mapped[UUID] = mapped_column(ForeignKey("orgs.id"))
    environment_id: Mapped[UUID] = mapped_column(ForeignKey("environments.id"))
    entry: Mapped[JsonObject]
    nonce: Mapped[str] = mapped_column(String(64))
    entry_hash: Mapped[str] = mapped_column(String(64))
    hash: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime]


class DeliveryState(StrEnum):
    """Whether a webhook has been told."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    FAILED = "failed"


class Webhook(Base):
    """An address that is told of an org's changes; no kind means every kind.

    `url` and `secret` are encrypted: many receivers know who sends by the address alone. One that
    took nothing for a day is disabled.
    """

    __tablename__ = "webhooks"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    org_id: Mapped[UUID] = mapped_column(ForeignKey("orgs.id"), index=True)
    url: Mapped[bytes] = mapped_column(LargeBinary)
    secret: Mapped[bytes] = mapped_column(LargeBinary)
    kinds: Mapped[list[str]] = mapped_column(JSON, default=list)
    pattern: Mapped[str] = mapped_column(String(200), default="*")
    created_at: Mapped[datetime]
    disabled_at: Mapped[datetime | None]
    deleted_at: Mapped[datetime | None]


class WebhookDelivery(Base):
    """One change for one webhook: written with the change, sent afterwards."""

    __tablename__ = "webhook_deliveries"
    __table_args__ = (Index(None, "state", "next_attempt_at"), Index(None, "webhook_id", "id"))

    id: Mapped[int] = mapped_column(
        BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True
    )
    webhook_id: Mapped[UUID] = mapped_column(ForeignKey("webhooks.id"))
    serial: Mapped[int] = mapped_column(ForeignKey("changes.serial"))
    state: Mapped[DeliveryState] = mapped_column(state_type(DeliveryState, "state"))
    attempts: Mapped[int] = mapped_column(default=0)
    next_attempt_at: Mapped[datetime | None]
    status_code: Mapped[int | None]
    error: Mapped[str | None] = mapped_column(String(500))
    created_at: Mapped[datetime]
    delivered_at: Mapped[datetime | None]

    change: Mapped[Change] = relationship(lazy="raise")
    webhook: Mapped[Webhook] = relationship(lazy="raise")
