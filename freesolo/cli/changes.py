"""`freesolo changes`: what happened to environments, and whether the hub tells it truly."""

from collections.abc import Iterator

import click

from freesolo.cli.context import App, json_option, pass_app
from freesolo.domain.feed import Head, Link, verify_chain
from freesolo.errors import InvalidFeed
from freesolo.schemas.changes import ChangeEntry, FeedHead, FeedItem

_SHOWN = 20


@click.command()
@click.option(
    "--since",
    type=click.IntRange(min=0),
    metavar="SERIAL",
    help=f"Show everything after this change; the newest {_SHOWN} by default.",
)
@click.option("--verify", is_flag=True, help="Check that no change was altered, added or left out.")
@json_option("changes[] (serial, entry, nonce, entry_hash, hash), head (serial, hash), verified")
@pass_app
def changes(app: App, *, since: int | None, verify: bool) -> None:
    """Show what happened to environments, the oldest first.

    Of what your key may not see, the feed holds only hashes: enough to verify that each change
    follows from all before it.
    """
    head = app.hub.feed_head()
    if verify:
        _verify(app, head)
    start = max(0, head.serial - _SHOWN) if since is None else since
    found = list(_items(app, since=start, until=head.serial))
    app.out.document(
        {
            "changes": [item.model_dump(mode="json") for item in found],
            "head": {"serial": head.serial, "hash": head.hash},
            "verified": verify,
        }
    )
    app.out.table(("serial", "at", "kind", "of", "data"), [_row(item) for item in found])
    if verify:
        app.out.talk(f"The feed is unbroken up to change {head.serial}: {head.hash}")


def _verify(app: App, head: FeedHead) -> None:
    found = verify_chain(_link(item) for item in _items(app, since=0, until=head.serial))
    if found != Head(head.serial, head.hash):
        raise InvalidFeed(
            f"The feed ends at change {found.serial} with {found.hash}; the hub says {head.serial} "
            f"with {head.hash}.",
            hint="The hub, or something between it and you, holds back changes.",
        )


def _link(item: FeedItem) -> Link:
    return Link(
        serial=item.serial,
        entry_hash=item.entry_hash,
        hash=item.hash,
        entry=item.entry,
        nonce=item.nonce,
    )


def _items(app: App, *, since: int, until: int) -> Iterator[FeedItem]:
    while since < until and (page := app.hub.changes(since=since).changes):
        yield from (item for item in page if item.serial <= until)
        since = page[-1].serial


def _row(item: FeedItem) -> tuple[object, ...]:
    if item.entry is None:
        return (item.serial, "", "(not for this key)", item.entry_hash[:12], "")
    entry = ChangeEntry.model_validate(item.entry)
    target = f"{entry.ref}@{entry.version}" if entry.version else entry.ref
    data = ", ".join(f"{name}={value}" for name, value in entry.data.items())
    return (item.serial, f"{entry.at:%Y-%m-%d %H:%M}", entry.kind, target, data)
