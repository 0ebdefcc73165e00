"""What every command gets: settings, output, and connections opened on first use."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeVar

import click

from freesolo.cli.output import Output
from freesolo.client.chat import ChatClient
from freesolo.client.environments import Environments
from freesolo.client.hub import HubClient
from freesolo.config import ClientSettings, Connection, CredentialStore, connection
from freesolo.domain.deadlines import (
    DEFAULT_CALL_SECONDS,
    MAX_CALL_SECONDS,
    MIN_CALL_SECONDS,
)
from freesolo.errors import InvalidInput
from freesolo.runtime.client import HostOptions
from freesolo.runtime.sandbox import SandboxMode

_Command = TypeVar("_Command", bound=Callable[..., object])


@dataclass
class App:
    """The state of one invocation of the command line."""

    settings: ClientSettings
    out: Output = field(default_factory=Output)
    _opened: ExitStack = field(default_factory=ExitStack)

    @property
    def credentials(self) -> CredentialStore:
        """The keys stored in the home folder."""
        return CredentialStore(self.settings.home_dir)

    @cached_property
    def connection(self) -> Connection:
        """The hub in use, and the key for it if there is one; raises `Unauthorized` without either."""
        return connection(self.settings, self.credentials)

    @cached_property
    def hub(self) -> HubClient:
        """The hub in use."""
        return self._open(self.connection)

    @cached_property
    def environments(self) -> Environments:
        """Published environments, brought to this machine."""
        return Environments(self.settings.cache, self.hub_at, tell=self.out.talk)

    def hub_at(self, hub_url: str | None = None) -> HubClient:
        """Open the hub at an address, by default the one in use, with the key that is for it."""
        if hub_url is None or hub_url == self.connection.hub_url:
            return self.hub
        return self._open(connection(self.settings, self.credentials, to=hub_url))

    def close(self) -> None:
        """Close what was opened."""
        self._opened.close()

    def gateway(self, *, attempts: int = 1) -> ChatClient:
        """Open a connection to the gateway that the hub names."""
        url = f"{self.hub.whoami().gateway_url}/v1"
        chosen = self.connection
        return ChatClient(url, chosen.api_key, org=chosen.org, attempts=attempts)

    def host_options(
        self, sandbox: str, *, call_seconds: float = DEFAULT_CALL_SECONDS
    ) -> HostOptions:
        """Return how environments run on this machine."""
        return HostOptions(
            cache_dir=self.settings.cache,
            sandbox=SandboxMode(sandbox),
            call_timeout=call_seconds,
        )

    def _open(self, chosen: Connection) -> HubClient:
        return self._opened.enter_context(HubClient(chosen.hub_url, chosen.api_key, org=chosen.org))


pass_app = click.make_pass_decorator(App)


def json_option(keys: str) -> Callable[[_Command], _Command]:
    """Add `--json`: one JSON document with `keys` on standard output."""

    def remember(context: click.Context, _: click.Parameter, value: bool) -> None:
        if value:
            context.ensure_object(App).out.json_mode = True

    return click.option(
        "--json",
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=remember,
        help=f"Print one JSON document on standard output, with: {keys}.",
    )


def yes_option(command: _Command) -> _Command:
    """Add `--yes`: do what cannot be undone without asking."""
    return click.option("-y", "--yes", is_flag=True, help="Do not ask.")(command)


def confirm(app: App, question: str, *, yes: bool) -> None:
    """Ask before something that cannot be undone; without a terminal, only `--yes` will do."""
    if yes:
        return
    if not app.out.interactive:
        raise InvalidInput(question, hint="Nobody is here to answer; pass --yes.")
    click.confirm(question, abort=True, err=True)


def sandbox_option(command: _Command) -> _Command:
    """Add `--sandbox`: how the environment's code is fenced in."""
    return click.option(
        "--sandbox",
        type=click.Choice([mode.value for mode in SandboxMode]),
        default=SandboxMode.AUTO.value,
        show_default=True,
        help="How to fence in the environment's code: with bubblewrap if it works here, only with it, "
        "or with resource limits alone.",
    )(command)


def call_seconds_option(command: _Command) -> _Command:
    """Add `--timeout-seconds`: what `[environment] timeout_seconds` is to a run."""
    return click.option(
        "--timeout-seconds",
        "call_seconds",
        type=click.FloatRange(MIN_CALL_SECONDS, MAX_CALL_SECONDS),
        default=DEFAULT_CALL_SECONDS,
        show_default=True,
        help="Seconds that the environment may take for one call, such as to score an answer; a run is "
        "told them by `[environment] timeout_seconds`.",
    )(command)
