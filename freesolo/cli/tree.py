"""`freesolo tree`."""

from collections.abc import Iterator
from pathlib import Path

import click

from freesolo.cli.context import App, json_option, pass_app
from freesolo.cli.lock import consumer_in
from freesolo.domain.refs import EnvRef
from freesolo.package.lockfile import Lock, check_fit, read_lock
from freesolo.package.resolution import describe


@click.command()
@json_option("environments[] (ref, version, tree_digest, wanted, dependencies[])")
@pass_app
def tree(app: App) -> None:
    """Show which environments are locked, and which build on which."""
    folder = Path.cwd()
    consumer = consumer_in(folder)
    lock = check_fit(read_lock(folder), consumer)
    app.out.document(
        {
            "environments": [
                {
                    "ref": one.id,
                    "version": one.version,
                    "tree_digest": one.tree,
                    "wanted": one in [lock.find(ref) for ref in consumer.environments],
                    "dependencies": [describe(ref) for ref in one.builds_on],
                }
                for one in lock.environment
            ]
        }
    )
    for ref in consumer.environments:
        app.out.data(_line(lock, ref))
        for line in _branches(lock, ref):
            app.out.data(line)


def _branches(lock: Lock, ref: EnvRef) -> Iterator[str]:
    """Yield the lines below an environment."""
    version = lock.find(ref)
    below = version.builds_on if version else ()
    for position, member in enumerate(below, start=1):
        is_last = position == len(below)
        yield f"{'└── ' if is_last else '├── '}{_line(lock, member)}"
        for line in _branches(lock, member):
            yield f"{'    ' if is_last else '│   '}{line}"


def _line(lock: Lock, ref: EnvRef) -> str:
    return f"{lock.find(ref)} ({describe(ref)})"
