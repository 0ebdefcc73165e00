"""`freesolo diff`."""

import json
from dataclasses import asdict
from pathlib import Path

import click

from freesolo.cli.context import App, json_option, pass_app
from freesolo.cli.output import Output
from freesolo.domain.refs import EnvRef
from freesolo.package.difference import Difference, RowChanges, RowExample, Tree, compare
from freesolo.package.files import collect_files

_STYLES = {"+": "green", "-": "red", "@": "cyan"}
_SIGNS = {"added": "+", "removed": "-", "changed": "~"}


@click.command()
@click.argument("old")
@click.argument("new")
@json_option("old, new, files, rows, patches")
@pass_app
def diff(app: App, old: str, new: str) -> None:
    """Show what changed from OLD to NEW: files, dataset rows, and code, what decides rewards first.

    Each is a folder, or a reference such as org/name@1.2.0.
    """
    before, after = _tree(app, old), _tree(app, new)
    difference = compare(before, after)
    app.out.document(
        {
            "old": {"name": old, "tree_digest": before.digest},
            "new": {"name": new, "tree_digest": after.digest},
            **asdict(difference),
        }
    )
    if not difference.files:
        app.out.data(f"No difference: both are {before.digest}")
        return
    app.out.data(f"{old} {before.digest}", style="bold")
    app.out.data(f"{new} {after.digest}", style="bold")
    _show(app.out, difference)


def _tree(app: App, text: str) -> Tree:
    """Return what an argument names: a folder if there is one, else a published version."""
    folder = Path(text)
    if folder.is_dir():
        return Tree(folder, tuple(collect_files(folder)))
    version = app.environments.find(EnvRef.parse(text), Path.cwd())
    fetched = app.environments.fetch(version)
    files = (path for path in fetched.rglob("*") if path.is_file())
    return Tree(fetched, tuple(path.relative_to(fetched).as_posix() for path in files))


def _show(out: Output, difference: Difference) -> None:
    out.data()
    for file in difference.files:
        sign = _SIGNS[file.code]
        out.data(f"{sign} {file.path}  ({file.message})", style=_STYLES.get(sign))
    for rows in difference.rows:
        out.data()
        _show_rows(out, rows)
    for patch in difference.patches:
        out.data()
        for line in patch.lines:
            out.data(line, style=_STYLES.get(line[:1]))


def _show_rows(out: Output, rows: RowChanges) -> None:
    counts = ", ".join(f"{count} {kind}" for kind, count in rows.counts.items())
    partly = "" if rows.complete else ", as far as its rows can be read"
    out.data(f"{rows.path}: rows matched by {rows.matched_by}: {counts}{partly}", style="bold")
    for example in rows.examples:
        _show_example(out, example)


def _show_example(out: Output, example: RowExample) -> None:
    for sign, row in (("-", example.old), ("+", example.new)):
        if row is not None:
            out.data(f"{sign} {json.dumps(row, ensure_ascii=False)}", style=_STYLES[sign])
