"""`freesolo delete` and `restore`: environments for a while, versions for ever."""

import click

from freesolo.cli.context import App, confirm, json_option, pass_app, yes_option
from freesolo.domain.refs import EnvRef


@click.command()
@click.argument("ref", metavar="REF[@VERSION]")
@yes_option
@json_option("ref, version (null for a whole environment), deleted_at")
@pass_app
def delete(app: App, ref: str, *, yes: bool) -> None:
    """Delete an environment, or one of its versions.

    An environment is hidden from everybody and can be restored for 30 days. A version is gone for
    ever, with all that was in it, and its number is never given again; `freesolo yank` is kinder to
    those who use it. A version that is still staged is only discarded.
    """
    parsed = EnvRef.parse(ref)
    if parsed.selector.text:
        _delete_version(app, parsed, yes=yes)
    else:
        _delete_environment(app, parsed, yes=yes)


@click.command()
@click.argument("ref")
@json_option("ref, summary, visibility, latest_version, archived, deleted_at")
@pass_app
def restore(app: App, ref: str) -> None:
    """Bring back the environment REF, deleted less than 30 days ago."""
    shown = app.hub.restore(EnvRef.parse(ref))
    app.out.document(shown.model_dump(mode="json"))
    app.out.data(f"{shown.ref} is there again.")
    app.out.next_step(f"freesolo info {shown.ref}")


def _delete_version(app: App, ref: EnvRef, *, yes: bool) -> None:
    confirm(app, f"Delete {ref} for ever?", yes=yes)
    app.hub.delete_version(ref)
    app.out.document({"ref": ref.full_name, "version": ref.selector.text, "deleted_at": None})
    app.out.data(f"{ref} is deleted.")
    app.out.next_step(f"freesolo versions {ref.full_name}")


def _delete_environment(app: App, ref: EnvRef, *, yes: bool) -> None:
    confirm(app, f"Delete {ref} with all its versions?", yes=yes)
    shown = app.hub.delete_environment(ref)
    deleted_at = shown.model_dump(mode="json")["deleted_at"]
    app.out.document({"ref": shown.ref, "version": None, "deleted_at": deleted_at})
    app.out.data(f"{shown.ref} is deleted; within 30 days it can be restored.")
    app.out.next_step(f"freesolo restore {shown.ref}")
