"""The hub's calls about what happened: the feed, receipts, uses, and webhooks."""

from collections.abc import Iterator

from freesolo.client.connection import HubConnection, path_part
from freesolo.domain.refs import EnvRef
from freesolo.schemas.changes import Feed, FeedHead
from freesolo.schemas.environments import ResolvedVersion
from freesolo.schemas.receipts import Receipt, SigningKeyList
from freesolo.schemas.uses import EnvironmentUses
from freesolo.schemas.webhooks import (
    CreatedWebhook,
    Delivery,
    DeliveryList,
    NewWebhook,
    Webhook,
    WebhookList,
)


class ChangeCalls(HubConnection):
    """What is asked about what happened."""

    def changes(self, *, since: int) -> Feed:
        """Return a page of what happened after change number `since`, the oldest first."""
        return self._get(Feed, "/v1/changes", since=since, limit=1000)

    def feed_head(self) -> FeedHead:
        """Return where the feed of changes ends."""
        return self._get(FeedHead, "/v1/changes/head")

    def feed_hash(self, serial: int) -> str | None:
        """Return the hash that the feed has at a change, or None if it has no such change."""
        page = self._get(Feed, "/v1/changes", since=serial - 1, limit=1).changes
        return page[0].hash if page and page[0].serial == serial else None

    def uses(self, ref: EnvRef) -> EnvironmentUses:
        """Return how often the versions of an environment were used."""
        return self._get(EnvironmentUses, f"/v1/envs/{ref.full_name}/uses")

    def receipt(self, version: ResolvedVersion) -> Receipt:
        """Return what the hub signed when it published a version; not yet verified."""
        path = f"/v1/envs/{version.ref}/versions/{path_part(version.version)}/receipt"
        return self._get(Receipt, path)

    def signing_keys(self) -> str:
        """Return the public keys that the hub says its receipts are signed with, in PEM."""
        keys = self._get(SigningKeyList, "/v1/signing-keys").keys
        return "\n".join(key.public_key for key in keys)

    def create_webhook(self, new: NewWebhook) -> CreatedWebhook:
        """Have the org's changes told to an address; the secret is in no later answer."""
        return self._send("POST", "/v1/webhooks", new, CreatedWebhook)

    def webhooks(self) -> list[Webhook]:
        """Return the org's webhooks, the oldest first."""
        return self._get(WebhookList, "/v1/webhooks").webhooks

    def delete_webhook(self, webhook_id: str) -> None:
        """Send nothing more to a webhook."""
        self._transport.request("DELETE", f"/v1/webhooks/{path_part(webhook_id)}")

    def enable_webhook(self, webhook_id: str) -> Webhook:
        """Send again to a webhook that was disabled."""
        response = self._transport.request("POST", f"/v1/webhooks/{path_part(webhook_id)}/enable")
        return self._read(Webhook, response)

    def deliveries(self, webhook_id: str) -> Iterator[Delivery]:
        """Yield what a webhook was told, the newest first."""
        path = f"/v1/webhooks/{path_part(webhook_id)}/deliveries"
        for page in self._pages(DeliveryList, path):
            yield from page.deliveries

    def redeliver(self, webhook_id: str, delivery_id: int) -> Delivery:
        """Send a delivery once more."""
        path = f"/v1/webhooks/{path_part(webhook_id)}/deliveries/{delivery_id}/redeliver"
        return self._read(Delivery, self._transport.request("POST", path))
