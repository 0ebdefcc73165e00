"""`freesolo deprecate`: say that an environment should not be used any more."""

import click

from freesolo.cli.context import App, json_option, pass_app
from freesolo.domain.refs import EnvRef
from freesolo.schemas.environments import Deprecation


@click.command()
@click.argument("ref")
@click.argument("message", required=False)
@click.option("--successor", metavar="REF", help="What to use instead.")
@click.option("--undo", is_flag=True, help="Take the deprecation back.")
@json_option("ref, summary, visibility, latest_version, deprecation, successor, archived")
@pass_app
def deprecate(
    app: App, ref: str, *, message: str | None, successor: str | None, undo: bool
) -> None:
    """Say that the environment REF should not be used any more, and why.

    It stays as it is; whoever resolves it is told.
    """
    parsed = EnvRef.parse(ref)
    if undo:
        if message or successor:
            raise click.UsageError("--undo takes neither a message nor --successor.")
        shown = app.hub.undeprecate(parsed)
    else:
        said = {"message": message} if message else {}
        shown = app.hub.deprecate(parsed, Deprecation(**said, successor=successor))
    app.out.document(shown.model_dump(mode="json"))
    if shown.deprecation is None:
        app.out.data(f"{shown.ref} is not deprecated.")
        return
    instead = f" Use {shown.successor} instead." if shown.successor else ""
    app.out.data(f"{shown.ref} is deprecated: {shown.deprecation}.{instead}")
    app.out.next_step(f"freesolo deprecate {shown.ref} --undo")
