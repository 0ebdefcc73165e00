"""`freesolo audit`: what was changed in an org, and by whom."""

import json

import click

from freesolo.cli.context import App, json_option, pass_app


@click.command()
@click.option("--action", help="Only one action, or a family of them such as `key`.")
@click.option("--actor", help="Only what this person, or `key NAME`, did.")
@click.option("--target", help="Only what was done to this; `org/name` with all its versions.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True)
@json_option("events[] (id, at, actor, key_prefix, action, target, data, request_id)")
@pass_app
def audit(
    app: App, *, action: str | None, actor: str | None, target: str | None, limit: int
) -> None:
    """List what was changed in the org, the newest first; for its admins."""
    events = app.hub.audit(limit=limit, action=action, actor=actor, target=target)
    app.out.document({"events": [event.model_dump(mode="json") for event in events]})
    app.out.table(
        ("at", "who", "with", "did", "to", ""),
        [
            (
                f"{event.at:%Y-%m-%d %H:%M:%S}",
                event.actor,
                event.key_prefix,
                event.action,
                event.target,
                json.dumps(event.data, ensure_ascii=False) if event.data else "",
            )
            for event in events
        ],
    )
