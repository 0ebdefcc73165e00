"""What is to be sent to webhooks: written with the change itself, so that no change goes untold.

A delivery is sent at least once, in no promised order. Whoever takes one to send it puts its next
attempt off; if they die meanwhile, that attempt is made by somebody else.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, delete, exists, select
from sqlalchemy.orm import Session, contains_eager, joinedload

from freesolo.domain.canonical import canonical_json
from freesolo.domain.roles import pattern_allows
from hub_server.models import Change, DeliveryState, Webhook, WebhookDelivery

# Longer than any attempt takes.
_LEASE = timedelta(minutes=2)
_FIRST_DELAY = timedelta(seconds=5)
_LONGEST_DELAY = timedelta(hours=6)
_GIVEN_UP_AFTER = timedelta(days=1)
_REMEMBERED = timedelta(days=30)


@dataclass(frozen=True)
class Parcel:
    """A delivery to be sent now: the `attempt`-th time. `url` and `secret` are encrypted."""

    delivery_id: int
    webhook_id: UUID
    attempt: int
    url: bytes
    secret: bytes
    kind: str
    body: bytes


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended; `error` is None if the receiver took it."""

    status_code: int | None = None
    error: str | None = None


def retry_delay(attempts: int) -> timedelta | None:
    """Return how long to wait after so many attempts that failed, or None to give up.

    Each wait is four times the one before, up to six hours; together they last most of a day.
    """
    waited, delay = timedelta(), _FIRST_DELAY
    for _ in range(attempts - 1):
        waited += delay
        delay = min(delay * 4, _LONGEST_DELAY)
    return delay if waited + delay <= _GIVEN_UP_AFTER else None


def enqueue(session: Session, change: Change, *, ref: str) -> None:
    """Write a delivery of a change to each webhook of its org that wants to hear of it."""
    hooks = session.scalars(
        select(Webhook).where(Webhook.org_id == change.org_id, _is_active())
    ).all()
    session.add_all(
        WebhookDelivery(
            webhook_id=hook.id,
            # By the row: it is inserted with the change.
            change=change,
            state=DeliveryState.WAITING,
            next_attempt_at=change.created_at,
            created_at=change.created_at,
        )
        for hook in hooks
        if _wants(hook, change, ref)
    )


def anything_due(session: Session, *, now: datetime) -> bool:
    """Say whether there is something to send."""
    due = select(WebhookDelivery.id).join(WebhookDelivery.webhook).where(_is_due(now), _is_active())
    return session.scalar(due.limit(1)) is not None


def take(session: Session, *, now: datetime, limit: int) -> list[Parcel]:
    """Return what to send now, what waits longest first, and keep it from others for a while."""
    due = session.scalars(
        select(WebhookDelivery)
        .join(WebhookDelivery.webhook)
        .options(contains_eager(WebhookDelivery.webhook), joinedload(WebhookDelivery.change))
        .where(_is_due(now), _is_active())
        .order_by(WebhookDelivery.next_attempt_at)
        .limit(limit)
        .with_for_update(of=WebhookDelivery, skip_locked=True)
    ).all()
    for delivery in due:
        delivery.attempts += 1
        delivery.next_attempt_at = now + _LEASE
    return [_parcel(delivery) for delivery in due]


def settle(session: Session, parcel: Parcel, outcome: Outcome, *, now: datetime) -> None:
    """Write down how an attempt ended, and when the next one is due."""
    delivery = session.get(WebhookDelivery, parcel.delivery_id, with_for_update=True)
    if delivery is None or delivery.attempts != parcel.attempt:
        # It was sent once more meanwhile; the later attempt counts.
        return
    delivery.status_code, delivery.error = outcome.status_code, outcome.error
    if outcome.error is None:
        delivery.state, delivery.delivered_at = DeliveryState.DELIVERED, now
        delivery.next_attempt_at = None
        return
    delay = retry_delay(delivery.attempts)
    delivery.next_attempt_at = now + delay if delay else None
    if delay is None:
        delivery.state = DeliveryState.FAILED
        _disable_if_deaf(session, delivery, now=now)


def forget_old(session: Session, *, now: datetime) -> None:
    """Forget deliveries of a month ago, whatever became of them."""
    old = WebhookDelivery.created_at < now - _REMEMBERED
    session.execute(delete(WebhookDelivery).where(old))


def _disable_if_deaf(session: Session, failed: WebhookDelivery, *, now: datetime) -> None:
    """Stop sending to a webhook that took nothing since the change that it could not be told."""
    heard = select(
        exists().where(
            WebhookDelivery.webhook_id == failed.webhook_id,
            WebhookDelivery.delivered_at > failed.created_at,
        )
    )
    if not session.scalar(heard):
        session.get_one(Webhook, failed.webhook_id).disabled_at = now


def _is_active() -> ColumnElement[bool]:
    return Webhook.deleted_at.is_(None) & Webhook.disabled_at.is_(None)


def _is_due(now: datetime) -> ColumnElement[bool]:
    return (WebhookDelivery.state == DeliveryState.WAITING) & (
        WebhookDelivery.next_attempt_at <= now
    )


def _wants(hook: Webhook, change: Change, ref: str) -> bool:
    kinds: Sequence[str] = hook.kinds
    return (not kinds or change.entry["kind"] in kinds) and pattern_allows([hook.pattern], ref)


def _parcel(delivery: WebhookDelivery) -> Parcel:
    return Parcel(
        delivery_id=delivery.id,
        webhook_id=delivery.webhook_id,
        attempt=delivery.attempts,
        url=delivery.webhook.url,
        secret=delivery.webhook.secret,
        kind=str(delivery.change.entry["kind"]),
        body=canonical_json(delivery.change.entry),
    )
