"""`freesolo webhooks`: who is told of what happens to an org's environments."""

from itertools import islice

import click

from freesolo.cli.context import App, confirm, json_option, pass_app, yes_option
from freesolo.schemas.changes import ChangeKind
from freesolo.schemas.webhooks import Delivery, NewWebhook, Webhook

_WEBHOOK = "id, url, kinds[], pattern, created_at, disabled_at"
_DELIVERY = (
    "id, serial, kind, ref, version, state, attempts, status_code, error, created_at, "
    "next_attempt_at, delivered_at"
)


@click.group()
def webhooks() -> None:
    """Have changes of the org's environments told to an address, signed, at least once."""


@webhooks.command()
@click.argument("url")
@click.option(
    "--kind",
    "kinds",
    multiple=True,
    type=click.Choice([kind.value for kind in ChangeKind]),
    help="Tell only of this kind of change; repeatable.",
)
@click.option(
    "--env",
    "pattern",
    default="*",
    metavar="PATTERN",
    help="Tell only of these environments, such as 'acme/math-*'.",
)
@json_option(f"{_WEBHOOK}, secret")
@pass_app
def create(app: App, url: str, *, kinds: tuple[str, ...], pattern: str) -> None:
    """Have changes told to URL. Prints the secret that signs them, for the only time."""
    new = NewWebhook(url=url, kinds=[ChangeKind(kind) for kind in kinds], pattern=pattern)
    created = app.hub.create_webhook(new)
    app.out.document(created.model_dump(mode="json"))
    app.out.fields({"id": created.id, "secret": created.secret})
    app.out.talk("The secret is not shown again: give it to the receiver now.")
    app.out.next_step(f"freesolo webhooks deliveries {created.id}")


@webhooks.command(name="list")
@json_option(f"webhooks[] ({_WEBHOOK})")
@pass_app
def list_webhooks(app: App) -> None:
    """List the org's webhooks."""
    found = app.hub.webhooks()
    app.out.document({"webhooks": [hook.model_dump(mode="json") for hook in found]})
    app.out.table(
        ("id", "url", "environments", "kinds", "state"),
        [
            (hook.id, hook.url, hook.pattern, ", ".join(hook.kinds) or "all", _state(hook))
            for hook in found
        ],
    )


@webhooks.command()
@click.argument("webhook_id")
@yes_option
@json_option("id")
@pass_app
def rm(app: App, webhook_id: str, *, yes: bool) -> None:
    """Remove a webhook; what still waits for it is not sent."""
    confirm(app, f"Remove the webhook {webhook_id}?", yes=yes)
    app.hub.delete_webhook(webhook_id)
    app.out.document({"id": webhook_id})
    app.out.data(f"Removed {webhook_id}.")


@webhooks.command()
@click.argument("webhook_id")
@json_option(_WEBHOOK)
@pass_app
def enable(app: App, webhook_id: str) -> None:
    """Send again to a webhook that was disabled because it took nothing for a day."""
    hook = app.hub.enable_webhook(webhook_id)
    app.out.document(hook.model_dump(mode="json"))
    app.out.data(f"{hook.id} is {_state(hook)}.")
    app.out.next_step(f"freesolo webhooks deliveries {hook.id}")


@webhooks.command()
@click.argument("webhook_id")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True)
@json_option(f"deliveries[] ({_DELIVERY})")
@pass_app
def deliveries(app: App, webhook_id: str, *, limit: int) -> None:
    """List what a webhook was told, the newest first, and whether it took it."""
    found = list(islice(app.hub.deliveries(webhook_id), limit))
    app.out.document({"deliveries": [item.model_dump(mode="json") for item in found]})
    app.out.table(
        ("id", "change", "kind", "of", "state", "attempts", "answer"),
        [
            (item.id, item.serial, item.kind, _target(item), item.state, item.attempts, _said(item))
            for item in found
        ],
    )
    if failed := next((item for item in found if item.state == "failed"), None):
        app.out.next_step(f"freesolo webhooks redeliver {webhook_id} {failed.id}")


@webhooks.command()
@click.argument("webhook_id")
@click.argument("delivery_id", type=click.IntRange(min=1))
@json_option(_DELIVERY)
@pass_app
def redeliver(app: App, webhook_id: str, delivery_id: int) -> None:
    """Send a delivery once more, under the same id."""
    delivery = app.hub.redeliver(webhook_id, delivery_id)
    app.out.document(delivery.model_dump(mode="json"))
    app.out.data(f"{_target(delivery)} ({delivery.kind}) is sent once more.")
    app.out.next_step(f"freesolo webhooks deliveries {webhook_id}")


def _state(hook: Webhook) -> str:
    return f"disabled since {hook.disabled_at:%Y-%m-%d %H:%M}" if hook.disabled_at else "active"


def _target(delivery: Delivery) -> str:
    return f"{delivery.ref}@{delivery.version}" if delivery.version else delivery.ref


def _said(delivery: Delivery) -> object:
    return delivery.error or delivery.status_code
