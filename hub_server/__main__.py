"""The hub as a process: `python -m hub_server serve | migrate | create-key`."""

import json
import os

import click
import uvicorn
from sqlalchemy.exc import DBAPIError

from freesolo.domain.roles import Role
from freesolo.errors import FreesoloError, InvalidInput, Unavailable
from freesolo.logs import configure_logging
from freesolo.schemas.accounts import USER_SCOPES, Scope
from freesolo.services import leave, load_settings
from hub_server.accounts import service as accounts
from hub_server.app import create_app, utc_now
from hub_server.db import create_database, create_sessions
from hub_server.maintenance.commands import backup, fsck, gc, restore
from hub_server.migrating import migrate as migrate_database
from hub_server.settings import HubSettings

_SERVICE_SCOPES = frozenset({Scope.WORKER, Scope.GATEWAY})

# How long requests in flight may take when the hub is told to stop.
_GRACE_SECONDS = 10


@click.group()
@click.pass_context
def main(context: click.Context) -> None:
    """Freesolo's registry and control plane. Its settings are FREESOLO_SERVER_* variables."""
    # Whatever the hub writes is its owner's alone.
    os.umask(0o077)
    settings = load_settings(HubSettings)
    configure_logging(settings.log_level)
    context.obj = settings


@main.command()
@click.pass_obj
def serve(settings: HubSettings) -> None:
    """Answer requests until told to stop."""
    config = uvicorn.Config(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
    uvicorn.Server(config).run()


@main.command()
@click.pass_obj
def migrate(settings: HubSettings) -> None:
    """Bring the database to the tables of this release."""
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    migrate_database(settings.database)


@main.command("create-key")
@click.option("--org", help="Slug of the org that the key is for; made if there is none.")
@click.option("--name", required=True, help="What the key is called in listings.")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice([scope.value for scope in Scope]),
    help="What the key may do; repeatable. Keys of an org may do everything by default.",
)
@click.pass_obj
def create_key(settings: HubSettings, org: str | None, name: str, scopes: tuple[str, ...]) -> None:
    """Make a key and print it, for the only time, as JSON.

    Without --org it is a key for one of the platform's own processes: --scope worker or gateway.
    """
    wanted = [Scope(scope) for scope in scopes] or (list(USER_SCOPES) if org else [])
    _check_scopes(org, wanted)
    now = utc_now()
    sessions = create_sessions(create_database(settings.database))
    with sessions.begin() as session:
        owner = accounts.ensure_org(session, org, now=now) if org else None
        role = Role.OWNER if org else None
        plan = accounts.KeyPlan(name, tuple(wanted), role=role)
        key = accounts.create_key(session, owner, plan, now=now)
    click.echo(
        json.dumps({"api_key": key.secret, "org": key.org, "name": key.name, "scopes": key.scopes})
    )


def _check_scopes(org: str | None, scopes: list[Scope]) -> None:
    for_service = _SERVICE_SCOPES.issuperset(scopes) and bool(scopes)
    if org is None and not for_service:
        raise InvalidInput(
            "A key without an org needs `--scope worker` or `--scope gateway`.",
            hint="Pass --org for a person's key.",
        )
    if org is not None and not _SERVICE_SCOPES.isdisjoint(scopes):
        raise InvalidInput("The scopes `worker` and `gateway` are for keys without an org.")


for _command in (fsck, gc, backup, restore):
    main.add_command(_command)


if __name__ == "__main__":
    try:
        main()
    except FreesoloError as error:
        leave(error)
    except DBAPIError as error:
        leave(
            Unavailable(
                f"The hub's database does not answer: {error.orig}.",
                hint="`python -m hub_server migrate` makes its tables; "
                "FREESOLO_SERVER_DATABASE_URL or FREESOLO_SERVER_DATA_DIR says where it is.",
            )
        )
