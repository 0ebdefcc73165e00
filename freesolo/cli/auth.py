"""`freesolo login`, `logout` and `whoami`."""

import sys

import click

from freesolo.cli.context import App, json_option, pass_app
from freesolo.client.hub import HubClient
from freesolo.config import DEFAULT_HUB_PORT, Profile
from freesolo.schemas.accounts import WhoAmI


@click.command()
@click.option("--hub-url", help="Address of the hub.", metavar="URL")
@click.option("--api-key-stdin", is_flag=True, help="Read the key from standard input.")
@json_option("hub_url, org, role, user, key_name, scopes, gateway_url")
@pass_app
def login(app: App, hub_url: str | None, api_key_stdin: bool) -> None:
    """Store a key for a hub, after trying it."""
    hub_url = hub_url or app.settings.hub_url or f"http://127.0.0.1:{DEFAULT_HUB_PORT}"
    key = _read_key(app, from_stdin=api_key_stdin)
    with HubClient(hub_url, key, org=app.settings.org) as hub:
        who = hub.whoami()
    app.credentials.save(Profile(hub_url=hub_url.rstrip("/"), api_key=key, org=who.org))
    app.out.document({"hub_url": hub_url, **_document(who)})
    app.out.data(f"Logged in to {hub_url} as {who.user or who.key_name}, {who.role} of {who.org}.")
    app.out.next_step("freesolo init my-task")


@click.command()
@json_option("hub_url")
@pass_app
def logout(app: App) -> None:
    """Forget the stored key of the hub in use."""
    removed = app.credentials.forget(app.settings.hub_url)
    app.out.document({"hub_url": removed})
    app.out.data(f"Forgot the key for {removed}." if removed else "No key was stored.")


@click.command()
@json_option("hub_url, org, role, user, key_name, scopes, gateway_url")
@pass_app
def whoami(app: App) -> None:
    """Show the hub, and whom the key in use speaks for."""
    who = app.hub.whoami()
    app.out.document({"hub_url": app.connection.hub_url, **_document(who)})
    app.out.fields(
        {
            "hub": app.connection.hub_url,
            "gateway": who.gateway_url,
            "org": who.org,
            "role": who.role,
            "user": who.user,
            "key": who.key_name,
            "scopes": ", ".join(who.scopes),
        }
    )


def _read_key(app: App, *, from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().strip()
    if app.settings.api_key is not None:
        return app.settings.api_key.get_secret_value().strip()
    return str(click.prompt("API key", hide_input=True, err=True)).strip()


def _document(who: WhoAmI) -> dict[str, object]:
    return who.model_dump(mode="json")
