"""`freesolo uses`: how often an environment is downloaded and trained on."""

import click

from freesolo.cli.context import App, json_option, pass_app
from freesolo.domain.refs import EnvRef


@click.command()
@click.argument("ref")
@json_option("ref, since, versions[] (version, downloads, runs, days[])")
@pass_app
def uses(app: App, ref: str) -> None:
    """Show how often each version of REF was used in the last 90 days."""
    found = app.hub.uses(EnvRef.parse(ref))
    app.out.document(found.model_dump(mode="json"))
    app.out.table(
        ("version", "downloads", "runs", "last used"),
        [
            (
                version.version,
                version.downloads,
                version.runs,
                version.days[-1].day if version.days else "",
            )
            for version in found.versions
        ],
    )
    app.out.talk(f"{found.ref} since {found.since}.")
