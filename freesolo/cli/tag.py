"""`freesolo tag`: channels, the movable names for versions."""

from collections.abc import Sequence

import click

from freesolo.cli.context import App, json_option, pass_app
from freesolo.domain.refs import EnvRef
from freesolo.schemas.environments import Channel, ChannelMove


@click.command()
@click.argument("ref")
@click.argument("channel", required=False)
@click.option(
    "--expect",
    metavar="SELECTOR",
    help="Move the channel only if it stands here now; '' if it must be new.",
)
@click.option("--list", "listing", is_flag=True, help="List the channels of REF.")
@click.option("--history", is_flag=True, help="Show every move of CHANNEL, the newest first.")
@click.option("--remove", is_flag=True, help="Remove CHANNEL; its history stays.")
@json_option(
    "name, selector, version, updated_at; with --list channels[]; with --history channel, moves[]"
)
@pass_app
def tag(  # noqa: PLR0913  one parameter for each option
    app: App,
    ref: str,
    *,
    channel: str | None,
    expect: str | None,
    listing: bool,
    history: bool,
    remove: bool,
) -> None:
    """Let CHANNEL mean what REF means: `freesolo tag acme/math@1.2.0 stable`.

    A range stays a range: after `freesolo tag 'acme/math@>=1,<2' one`, every new version in it is
    what `acme/math@one` means. All else is pinned to the version that it means now.
    """
    if listing + history + remove > 1:
        raise click.UsageError("--list, --history and --remove exclude each other.")
    parsed = EnvRef.parse(ref)
    if listing:
        _list(app, app.hub.channels(parsed))
    elif channel is None:
        raise click.UsageError("Which CHANNEL? `--list` shows those that there are.")
    elif history:
        _show_history(app, parsed, channel)
    elif remove:
        app.hub.remove_channel(parsed, channel)
        app.out.document({"name": channel, "selector": None})
        app.out.data(f"{parsed.full_name}@{channel} is no channel any more.")
    else:
        _move(app, parsed, channel, expect=expect)


def _move(app: App, ref: EnvRef, name: str, *, expect: str | None) -> None:
    moved = app.hub.move_channel(ref, name, expected=expect)
    app.out.document(moved.model_dump(mode="json"))
    app.out.data(f"{ref.full_name}@{name} is {_meaning(moved)}.")
    app.out.next_step(f"freesolo pull {ref.full_name}@{name}")


def _list(app: App, channels: Sequence[Channel]) -> None:
    app.out.document({"channels": [each.model_dump(mode="json") for each in channels]})
    app.out.table(
        ("channel", "stands at", "means", "since"),
        [
            (each.name, each.selector, each.version, f"{each.updated_at:%Y-%m-%d %H:%M}")
            for each in channels
        ],
    )


def _show_history(app: App, ref: EnvRef, name: str) -> None:
    page = app.hub.channel(ref, name)
    channel, moves = page.channel, list[ChannelMove](page.moves)
    while page.next_cursor is not None:
        page = app.hub.channel(ref, name, cursor=page.next_cursor)
        moves += page.moves
    app.out.document(
        {
            "channel": channel and channel.model_dump(mode="json"),
            "moves": [move.model_dump(mode="json") for move in moves],
        }
    )
    app.out.table(
        ("at", "moved to", "by"),
        [
            (f"{move.moved_at:%Y-%m-%d %H:%M}", move.selector or "(removed)", move.moved_by)
            for move in moves
        ],
    )


def _meaning(channel: Channel) -> str:
    if channel.selector == channel.version:
        return channel.selector
    return f"{channel.selector}, now {channel.version or 'nothing'}"
