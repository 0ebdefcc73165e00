"""`freesolo archive` and `unarchive`: close an environment to new versions, and open it again."""

import click

from freesolo.cli.context import App, json_option, pass_app
from freesolo.domain.refs import EnvRef

_KEYS = "ref, summary, visibility, latest_version, deprecation, successor, archived"


@click.command()
@click.argument("ref")
@json_option(_KEYS)
@pass_app
def archive(app: App, ref: str) -> None:
    """Close the environment REF to new versions. Those it has stay as they are."""
    shown = app.hub.archive(EnvRef.parse(ref))
    app.out.document(shown.model_dump(mode="json"))
    app.out.data(f"{shown.ref} is archived and takes no new versions.")
    app.out.next_step(f"freesolo unarchive {shown.ref}")


@click.command()
@click.argument("ref")
@json_option(_KEYS)
@pass_app
def unarchive(app: App, ref: str) -> None:
    """Open the environment REF to new versions again."""
    shown = app.hub.unarchive(EnvRef.parse(ref))
    app.out.document(shown.model_dump(mode="json"))
    app.out.data(f"{shown.ref} takes new versions.")
