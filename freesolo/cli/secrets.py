"""`freesolo secrets`: what the environments of a project are given, and nobody is shown."""

import sys
from pathlib import Path
from uuid import UUID

import click

from freesolo.cli.context import App, confirm, json_option, pass_app, yes_option
from freesolo.domain.secrets import MAX_VALUE_BYTES, check_secret_name
from freesolo.domain.suggest import did_you_mean
from freesolo.errors import InvalidSecret, ProjectNotFound
from freesolo.package.local_secrets import gather_secret
from freesolo.schemas.secrets import StoredSecret

_SECRET = "name, updated_by, updated_at"  # noqa: S105 - names of keys

_project_option = click.option(
    "--project", metavar="PROJECT", help="Slug or id of the project; by default `default`."
)


@click.group()
def secrets() -> None:
    """Set, list and remove the secrets that runs of a project give their environments."""


@secrets.command(name="set")
@click.argument("name")
@click.option(
    "--from-env",
    is_flag=True,
    help="Take the value from the shell, or from .env.local or .env of the current folder.",
)
@_project_option
@json_option(_SECRET)
@pass_app
def set_secret(app: App, name: str, *, from_env: bool, project: str | None) -> None:
    """Store the secret NAME, such as JUDGE_API_KEY, encrypted. It is never shown again.

    The value is asked for on a terminal, and read from standard input otherwise.
    """
    check_secret_name(name)
    value = gather_secret(name, Path.cwd()) if from_env else _ask(name)
    stored = app.hub.set_secret(name, value, _find_project(app, project))
    app.out.document(stored.model_dump(mode="json"))
    app.out.data(f"{stored.name} is stored.")
    app.out.talk(f'Environments that declare it get it: `secrets = ["{name}"]`.')
    app.out.next_step("freesolo secrets list")


@secrets.command(name="list")
@_project_option
@json_option(f"secrets[] ({_SECRET})")
@pass_app
def list_secrets(app: App, project: str | None) -> None:
    """List the names of the project's secrets, and who set each when."""
    found = app.hub.secrets(_find_project(app, project))
    app.out.document({"secrets": [secret.model_dump(mode="json") for secret in found]})
    app.out.table(("name", "set by", "at"), [_row(secret) for secret in found])


@secrets.command()
@click.argument("name")
@_project_option
@yes_option
@json_option("name")
@pass_app
def rm(app: App, name: str, *, project: str | None, yes: bool) -> None:
    """Remove the secret NAME. Runs that need it fail from now on."""
    check_secret_name(name)
    confirm(app, f"Remove the secret {name}?", yes=yes)
    app.hub.remove_secret(name, _find_project(app, project))
    app.out.document({"name": name})
    app.out.data(f"Removed {name}.")
    app.out.next_step("freesolo secrets list")


def _ask(name: str) -> str:
    if sys.stdin.isatty():
        return str(click.prompt(name, hide_input=True, err=True))
    try:
        text = sys.stdin.buffer.read(MAX_VALUE_BYTES + len("\r\n") + 1).decode()
    except UnicodeDecodeError:
        raise InvalidSecret("Standard input is not text in UTF-8.") from None
    # `echo` and files end with a line's end that is no part of the secret.
    return text.removesuffix("\n").removesuffix("\r")


def _find_project(app: App, wanted: str | None) -> UUID | None:
    """Return the id of the project that is named; None is the default one."""
    if wanted is None:
        return None
    projects = {project.slug: project.id for project in app.hub.projects()}
    for slug, identifier in projects.items():
        if wanted in (slug, str(identifier)):
            return identifier
    raise ProjectNotFound(
        f"There is no project {wanted!r}.",
        hint=did_you_mean(wanted, projects) or "`freesolo projects list` shows them.",
    )


def _row(secret: StoredSecret) -> tuple[str, str, str]:
    return secret.name, secret.updated_by, f"{secret.updated_at:%Y-%m-%d %H:%M}"
