"""The hub as a process: `python -m hub_server serve | migrate | create-key | ...`."""

import os

import click
import uvicorn
from sqlalchemy.exc import DBAPIError

from freesolo.errors import FreesoloError, InvalidInput, Unavailable
from freesolo.logs import configure_logging
from freesolo.services import leave, load_settings
from hub_server.accounts.commands import create_key, set_quota
from hub_server.app import create_app
from hub_server.billing.commands import credit
from hub_server.maintenance.commands import backup, fsck, gc, restore
from hub_server.migrating import migrate as migrate_database
from hub_server.settings import HubSettings

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


for _command in (create_key, set_quota, credit, fsck, gc, backup, restore):
    main.add_command(_command)


if __name__ == "__main__":
    try:
        main()
    except FreesoloError as error:
        leave(error)
    except OSError as error:
        if error.filename is None:
            raise
        leave(InvalidInput(f"{error.filename}: {error.strerror}."))
    except DBAPIError as error:
        leave(
            Unavailable(
                f"The hub's database does not answer: {error.orig}.",
                hint="`python -m hub_server migrate` makes its tables; "
                "FREESOLO_SERVER_DATABASE_URL or FREESOLO_SERVER_DATA_DIR says where it is.",
            )
        )
