"""`freesolo promote`: publish what was staged."""

import click

from freesolo.cli.context import App, json_option, pass_app
from freesolo.domain.refs import EnvRef


@click.command()
@click.argument("ref", metavar="REF@VERSION")
@json_option("ref, version, tree_digest, archive_digest, size, status, state, published_at")
@pass_app
def promote(app: App, ref: str) -> None:
    """Show a staged version to everybody who may read the environment.

    `freesolo publish --stage` makes one; `freesolo delete REF@VERSION` discards it.
    """
    published = app.hub.promote(EnvRef.parse(ref))
    app.out.document(published.model_dump(mode="json"))
    app.out.data(f"{published.ref} {published.version} {published.tree_digest} ({published.state})")
    app.out.next_step(f"freesolo info {published.ref}")
