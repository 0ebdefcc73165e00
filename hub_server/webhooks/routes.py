"""Webhooks of an org, for its admins."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Path, status

from freesolo.schemas import webhooks as wire
from freesolo.schemas.changes import ChangeKind
from hub_server.dependencies import DbReader, DbSession, FromHub, Limit, Now, OrgAdmin, OrgReader
from hub_server.encryption import Vault
from hub_server.models import Webhook, WebhookDelivery
from hub_server.webhooks import service
from hub_server.webhooks.addresses import look_up, parse_url

router = APIRouter(prefix="/v1/webhooks", tags=["webhooks"])

DeliveryId = Annotated[int, Path(ge=1, le=2**63 - 1)]


async def _reachable(new: wire.NewWebhook, _: OrgAdmin, resources: FromHub) -> wire.NewWebhook:
    """Refuse an address that nothing could be sent to, before the database is held for it."""
    private = resources.settings.webhook_private_networks
    await look_up(parse_url(new.url), private=private, attempt=0)
    return new


@router.post("", status_code=status.HTTP_201_CREATED)
def create_webhook(
    new: Annotated[wire.NewWebhook, Depends(_reachable)],
    member: OrgAdmin,
    session: DbSession,
    resources: FromHub,
    now: Now,
) -> wire.CreatedWebhook:
    """Have the org's changes told to an address. The answer holds the secret, for the only time."""
    hook, secret = service.create(session, member, new, resources.vault, now=now)
    return wire.CreatedWebhook(**_view(hook, resources.vault).model_dump(), secret=secret)


@router.get("")
def list_webhooks(member: OrgReader, session: DbReader, resources: FromHub) -> wire.WebhookList:
    """List the org's webhooks, the oldest first."""
    hooks = service.list_webhooks(session, member)
    return wire.WebhookList(webhooks=[_view(hook, resources.vault) for hook in hooks])


@router.delete("/{webhook_id}", status_code=status.HTTP_204_NO_CONTENT)
def delete_webhook(webhook_id: UUID, member: OrgAdmin, session: DbSession, now: Now) -> None:
    """Remove a webhook; what still waits for it is not sent."""
    service.delete(session, member, webhook_id, now=now)


@router.post("/{webhook_id}/enable")
def enable_webhook(
    webhook_id: UUID, member: OrgAdmin, session: DbSession, resources: FromHub, now: Now
) -> wire.Webhook:
    """Send again to a webhook that was disabled because it took nothing for a day."""
    hook = service.enable(session, member, webhook_id, now=now)
    return _view(hook, resources.vault)


@router.get("/{webhook_id}/deliveries")
def list_deliveries(
    webhook_id: UUID,
    member: OrgReader,
    session: DbReader,
    cursor: str | None = None,
    limit: Limit = 50,
) -> wire.DeliveryList:
    """List what a webhook was told, the newest first, and whether it heard."""
    page, next_cursor = service.list_deliveries(
        session, member, webhook_id, cursor=cursor, limit=limit
    )
    return wire.DeliveryList(deliveries=[_delivery(item) for item in page], next_cursor=next_cursor)


@router.post("/{webhook_id}/deliveries/{delivery_id}/redeliver")
def redeliver(
    webhook_id: UUID, delivery_id: DeliveryId, member: OrgAdmin, session: DbSession, now: Now
) -> wire.Delivery:
    """Send a delivery once more, under the same id."""
    return _delivery(service.redeliver(session, member, webhook_id, delivery_id, now=now))


def _view(hook: Webhook, vault: Vault) -> wire.Webhook:
    return wire.Webhook(
        id=hook.id,
        url=vault.decrypt(hook.url),
        kinds=[ChangeKind(kind) for kind in hook.kinds],
        pattern=hook.pattern,
        created_at=hook.created_at,
        disabled_at=hook.disabled_at,
    )


def _delivery(delivery: WebhookDelivery) -> wire.Delivery:
    entry = delivery.change.entry
    return wire.Delivery.model_validate(
        {
            "id": delivery.id,
            "serial": delivery.serial,
            "kind": entry["kind"],
            "ref": entry["ref"],
            "version": entry["version"],
            "state": delivery.state.value,
            "attempts": delivery.attempts,
            "status_code": delivery.status_code,
            "error": delivery.error,
            "created_at": delivery.created_at,
            "next_attempt_at": delivery.next_attempt_at,
            "delivered_at": delivery.delivered_at,
        }
    )
