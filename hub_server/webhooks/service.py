"""An org's webhooks: make, list, remove; look at deliveries and send them again."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session, joinedload

from freesolo.domain.roles import Role, check_patterns
from freesolo.errors import DeliveryNotFound, LimitExceeded, WebhookNotFound
from freesolo.schemas import webhooks as wire
from freesolo.schemas.audit import Action
from hub_server.accounts.service import Member
from hub_server.audit import service as audit
from hub_server.encryption import Vault
from hub_server.identifiers import new_secret
from hub_server.models import DeliveryState, Webhook, WebhookDelivery
from hub_server.paging import decode_cursor, encode_cursor, not_a_cursor

_MAX_WEBHOOKS = 20


def create(
    session: Session, by: Member, new: wire.NewWebhook, vault: Vault, *, now: datetime
) -> tuple[Webhook, str]:
    """Make a webhook of the member's org; return it with its secret, which is shown only now."""
    _require_admin(by)
    check_patterns([new.pattern])
    count = session.scalar(select(func.count()).where(*_of(by)))
    if count is not None and count >= _MAX_WEBHOOKS:
        raise LimitExceeded(
            f"{by.org} has {count} webhooks, which is as many as an org may have.",
            hint="`freesolo webhooks rm` removes one.",
        )
    secret = f"whsec_{new_secret()}"
    hook = Webhook(
        org_id=by.org_id,
        url=vault.encrypt(new.url),
        secret=vault.encrypt(secret),
        kinds=sorted({kind.value for kind in new.kinds}),
        pattern=new.pattern,
        created_at=now,
    )
    session.add(hook)
    session.flush()
    audit.record(session, by, Action.WEBHOOK_CREATED, target=str(hook.id), now=now)
    return hook, secret


def list_webhooks(session: Session, by: Member) -> Sequence[Webhook]:
    """Return the webhooks of the member's org, the oldest first."""
    _require_admin(by)
    return session.scalars(
        select(Webhook).where(*_of(by)).order_by(Webhook.created_at, Webhook.id)
    ).all()


def delete(session: Session, by: Member, webhook_id: UUID, *, now: datetime) -> None:
    """Send nothing more to a webhook."""
    hook = _find(session, by, webhook_id, lock=True)
    hook.deleted_at = now
    audit.record(session, by, Action.WEBHOOK_DELETED, target=str(hook.id), now=now)


def enable(session: Session, by: Member, webhook_id: UUID, *, now: datetime) -> Webhook:
    """Send again to a webhook that was disabled; what still waits for it is sent now."""
    hook = _find(session, by, webhook_id, lock=True)
    if hook.disabled_at is not None:
        hook.disabled_at = None
        audit.record(session, by, Action.WEBHOOK_ENABLED, target=str(hook.id), now=now)
    return hook


def list_deliveries(
    session: Session, by: Member, webhook_id: UUID, *, cursor: str | None, limit: int
) -> tuple[Sequence[WebhookDelivery], str | None]:
    """Return a page of a webhook's deliveries, the newest first, and the next page's cursor."""
    hook = _find(session, by, webhook_id)
    query = (
        select(WebhookDelivery)
        .where(WebhookDelivery.webhook_id == hook.id)
        .options(joinedload(WebhookDelivery.change))
        .order_by(WebhookDelivery.id.desc())
        .limit(limit + 1)
    )
    if cursor is not None:
        query = query.where(WebhookDelivery.id < _delivery_id(cursor))
    found = session.scalars(query).all()
    page = found[:limit]
    return page, encode_cursor(str(page[-1].id)) if len(found) > limit else None


def redeliver(
    session: Session, by: Member, webhook_id: UUID, delivery_id: int, *, now: datetime
) -> WebhookDelivery:
    """Send a delivery once more, under the same id, with all attempts that a new one has."""
    hook = _find(session, by, webhook_id)
    delivery = session.scalars(
        select(WebhookDelivery)
        .where(WebhookDelivery.id == delivery_id, WebhookDelivery.webhook_id == hook.id)
        .options(joinedload(WebhookDelivery.change))
        .with_for_update(of=WebhookDelivery)
    ).one_or_none()
    if delivery is None:
        raise DeliveryNotFound(
            f"The webhook {hook.id} has no delivery {delivery_id}.",
            hint=f"`freesolo webhooks deliveries {hook.id}` lists them.",
        )
    delivery.state = DeliveryState.WAITING
    delivery.attempts = 0
    delivery.next_attempt_at = now
    delivery.delivered_at = delivery.error = delivery.status_code = None
    audit.record(
        session, by, Action.WEBHOOK_REDELIVERED, target=str(hook.id), now=now, delivery=delivery_id
    )
    return delivery


def _find(session: Session, by: Member, webhook_id: UUID, *, lock: bool = False) -> Webhook:
    _require_admin(by)
    query = select(Webhook).where(Webhook.id == webhook_id, *_of(by))
    hook = session.scalars(query.with_for_update() if lock else query).one_or_none()
    if hook is None:
        raise WebhookNotFound(
            f"{by.org} has no webhook {webhook_id}.", hint="`freesolo webhooks list` shows them."
        )
    return hook


def _of(by: Member) -> tuple[ColumnElement[bool], ...]:
    return (Webhook.org_id == by.org_id, Webhook.deleted_at.is_(None))


def _require_admin(by: Member) -> None:
    by.require_role(Role.ADMIN)
    by.require_unconfined("webhooks hear of all environments of an org")


def _delivery_id(cursor: str) -> int:
    (text,) = decode_cursor(cursor, parts=1)
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise not_a_cursor(cursor)
    return int(text)
