"""`freesolo search`."""

import click

from freesolo.cli.context import App, json_option, pass_app
from freesolo.domain.turns import MULTI_TURN, SINGLE_TURN


@click.command()
@click.argument("words", nargs=-1)
@click.option("--tag", "tags", multiple=True, help="Only what has this tag; repeatable.")
@click.option("--org", help="Only what belongs to this org.")
@click.option("--license", help="Only what has this license.")
@click.option("--turn-type", type=click.Choice([SINGLE_TURN, MULTI_TURN]))
@click.option("--limit", type=click.IntRange(1, 100), default=20, show_default=True)
@json_option(
    "results[] (ref, summary, latest_version, license, tags, turn_type, downloads, updated_at, deprecation, archived)"
)
@pass_app
def search(  # noqa: PLR0913  the words and one option for each filter
    app: App,
    *,
    words: tuple[str, ...],
    tags: tuple[str, ...],
    org: str | None,
    license: str | None,
    turn_type: str | None,
    limit: int,
) -> None:
    """Find environments that hold all WORDS; the last may be the beginning of one."""
    found = app.hub.search(
        " ".join(words), tags=tags, org=org, license=license, turn_type=turn_type, limit=limit
    )
    app.out.document({"results": [result.model_dump(mode="json") for result in found]})
    if not found:
        app.out.talk("Nothing was found.")
        return
    app.out.table(
        ("environment", "version", "downloads", "summary"),
        [
            (
                result.ref,
                result.latest_version,
                result.downloads,
                f"(deprecated) {result.summary}" if result.deprecation else result.summary,
            )
            for result in found
        ],
    )
    app.out.next_step(f"freesolo info {found[0].ref}")
