"""`freesolo yank` and `unyank`: take a version back without breaking who depends on it."""

import click

from freesolo.cli.context import App, json_option, pass_app
from freesolo.domain.refs import EnvRef
from freesolo.schemas.environments import ResolvedVersion

_KEYS = "ref, version, tree_digest, archive_digest, size, yanked, yank_reason"


@click.command()
@click.argument("ref", metavar="REF@VERSION")
@click.option("--reason", required=True, help="Why; shown to everybody who still uses it.")
@json_option(_KEYS)
@pass_app
def yank(app: App, ref: str, *, reason: str) -> None:
    """Take a published version back.

    Ranges and the newest release never mean it again. Whoever names it exactly, by its number or by
    its digest, still gets it, with a warning: nothing that is locked breaks.
    """
    yanked = app.hub.yank(EnvRef.parse(ref), reason)
    _show(app, yanked, "is yanked")
    app.out.next_step(f"freesolo unyank {yanked.ref}@{yanked.version}")


@click.command()
@click.argument("ref", metavar="REF@VERSION")
@json_option(_KEYS)
@pass_app
def unyank(app: App, ref: str) -> None:
    """Let ranges and the newest release mean a version again."""
    _show(app, app.hub.unyank(EnvRef.parse(ref)), "is not yanked")


def _show(app: App, version: ResolvedVersion, state: str) -> None:
    app.out.document(version.model_dump(mode="json"))
    app.out.data(f"{version.ref} {version.version} {state}.")
