"""`freesolo keys`: make, list and revoke keys."""

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import click

from freesolo.cli.context import App, confirm, json_option, pass_app, yes_option
from freesolo.domain.rates import MOST_PER_MINUTE, KeyLimits
from freesolo.domain.roles import Role
from freesolo.errors import InvalidInput, KeyNotFound
from freesolo.schemas.accounts import USER_SCOPES, Key, NewKey, Scope

_Command = TypeVar("_Command", bound=Callable[..., object])

_SPAN = re.compile(r"([0-9]{1,5})([mhdw])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def limit_options(command: _Command) -> _Command:
    """Add the options for what a key may ask of the gateway in a minute."""
    most = click.IntRange(1, MOST_PER_MINUTE)
    for name, what in (("--tpm", "Tokens"), ("--rpm", "Requests")):
        help_ = f"{what} a minute that the gateway takes from it; by default, and at most, as many as the hub allows."
        command = click.option(name, type=most, metavar="N", help=help_)(command)
    return command


@click.group()
def keys() -> None:
    """Make, list and revoke keys."""


@keys.command()
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice([scope.value for scope in USER_SCOPES]),
    help="What the key may do; repeatable. By default all that yours may.",
)
@click.option(
    "--env",
    "patterns",
    multiple=True,
    metavar="PATTERN",
    help="Confine the key to environments such as 'acme/*'; repeatable.",
)
@limit_options
@click.option("--expires", metavar="SPAN", help="How long it works, such as 12h, 30d or 8w.")
@click.option(
    "--role", type=click.Choice([role.value for role in Role]), help="The most that it may be."
)
@click.option("--user", metavar="HANDLE", help="Make it for somebody else of the org.")
@click.option("--service", is_flag=True, help="Make it for the org itself: it outlives people.")
@click.option("--all-orgs", is_flag=True, help="Let it act in all your orgs, not just this one.")
@json_option(
    "api_key, id, name, prefix, user, all_orgs, role, scopes, patterns, limits, expires_at"
)
@pass_app
def create(  # noqa: PLR0913 - one parameter for each option
    app: App,
    name: str,
    *,
    scopes: Sequence[str],
    patterns: Sequence[str],
    rpm: int | None,
    tpm: int | None,
    expires: str | None,
    role: str | None,
    user: str | None,
    service: bool,
    all_orgs: bool,
) -> None:
    """Make a key called NAME and print it, for the only time.

    It can do no more than the key that makes it.
    """
    made = app.hub.create_key(
        NewKey(
            name=name,
            scopes=[Scope(scope) for scope in scopes] or None,
            patterns=list(patterns) or None,
            limits=KeyLimits(requests_per_minute=rpm, tokens_per_minute=tpm),
            expires_at=datetime.now(UTC) + _span(expires) if expires else None,
            role=Role(role) if role else None,
            user=user,
            service=service,
            all_orgs=all_orgs,
        )
    )
    app.out.document(made.model_dump(mode="json"))
    app.out.data(made.api_key)
    app.out.talk("This is shown once. Keep it where nobody else can read it.")
    app.out.next_step("freesolo login")


@keys.command(name="list")
@click.option("--all", "everything", is_flag=True, help="Also revoked ones.")
@json_option(
    "keys[] (id, name, prefix, user, all_orgs, role, scopes, patterns, limits, created_at, expires_at, last_used_at, revoked_at)"
)
@pass_app
def list_keys(app: App, *, everything: bool) -> None:
    """List the org's keys if you are its admin, else your own. The secrets are nowhere."""
    found = app.hub.keys(everything=everything)
    app.out.document({"keys": [key.model_dump(mode="json") for key in found]})
    app.out.table(
        ("key", "name", "of", "role", "scopes", "environments", "limits", "expires", "last used"),
        [_row(key) for key in found],
    )


@keys.command()
@click.argument("key", metavar="ID|PREFIX|NAME")
@limit_options
@json_option("id, name, prefix, limits (requests_per_minute, tokens_per_minute)")
@pass_app
def limit(app: App, key: str, *, rpm: int | None, tpm: int | None) -> None:
    """Say how much KEY may ask of the gateway in a minute.

    What is left out is as the hub has it for all keys, and no key may ask for more than that.
    """
    limits = KeyLimits(requests_per_minute=rpm, tokens_per_minute=tpm)
    made = app.hub.limit_key(_choose(app.hub.keys(), key).id, limits)
    app.out.document(made.model_dump(mode="json", include={"id", "name", "prefix", "limits"}))
    app.out.data(f"{made.name} ({made.prefix}...): {_limits(made) or 'no limit of its own'}.")


@keys.command()
@click.argument("key", metavar="ID|PREFIX|NAME")
@yes_option
@json_option("id, name, prefix")
@pass_app
def revoke(app: App, key: str, *, yes: bool) -> None:
    """Make a key useless, everywhere and at once."""
    chosen = _choose(app.hub.keys(), key)
    confirm(app, f"Revoke {chosen.name} ({chosen.prefix}...)?", yes=yes)
    app.hub.revoke_key(chosen.id)
    app.out.document(chosen.model_dump(mode="json", include={"id", "name", "prefix"}))
    app.out.data(f"{chosen.name} ({chosen.prefix}...) is revoked.")
    app.out.next_step("freesolo keys list --all")


def _span(text: str) -> timedelta:
    match = _SPAN.fullmatch(text)
    if match is None:
        raise InvalidInput(
            f"{text!r} is not a span of time.",
            hint="Write a number and m, h, d or w: `30d` is thirty days.",
        )
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


def _choose(found: Sequence[Key], text: str) -> Key:
    """Return the one key that `text` names by its id, its beginning or its name."""
    chosen = [key for key in found if text in (str(key.id), key.prefix, key.name)]
    if not chosen:
        raise KeyNotFound(f"There is no key {text!r}.", hint="`freesolo keys list` shows them.")
    if len(chosen) > 1:
        prefixes = ", ".join(key.prefix for key in chosen)
        raise InvalidInput(
            f"{text!r} names {len(chosen)} keys: {prefixes}.", hint="Name one by its beginning."
        )
    return chosen[0]


def _limits(key: Key) -> str:
    told = ((key.limits.requests_per_minute, "rpm"), (key.limits.tokens_per_minute, "tpm"))
    return ", ".join(f"{most} {unit}" for most, unit in told if most is not None)


def _row(key: Key) -> tuple[object, ...]:
    scopes = "all" if set(key.scopes) == set(USER_SCOPES) else ", ".join(key.scopes)
    return (
        key.prefix,
        f"{key.name} (revoked)" if key.revoked_at else key.name,
        key.user or "the org",
        key.role,
        scopes,
        ", ".join(key.patterns) or "all",
        _limits(key),
        f"{key.expires_at:%Y-%m-%d %H:%M}" if key.expires_at else "never",
        f"{key.last_used_at:%Y-%m-%d %H:%M}" if key.last_used_at else "never",
    )
