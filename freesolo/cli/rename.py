"""`freesolo rename`: another name for an environment, in the same org."""

import click

from freesolo.cli.context import App, json_option, pass_app
from freesolo.domain.refs import EnvRef


@click.command()
@click.argument("ref")
@click.argument("name", metavar="NEW")
@json_option("ref, summary, visibility, latest_version, deprecation, successor, archived")
@pass_app
def rename(app: App, ref: str, *, name: str) -> None:
    """Give the environment REF the name NEW.

    The old name leads to it for ever, and nobody can take it. New versions are published under the
    new one: change `name` in environment.toml.
    """
    shown = app.hub.rename(EnvRef.parse(ref), name)
    app.out.document(shown.model_dump(mode="json"))
    app.out.data(f"{EnvRef.parse(ref).full_name} is {shown.ref} now.")
    app.out.next_step(f"freesolo info {shown.ref}")
