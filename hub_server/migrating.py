"""Bring a database to the tables of this release."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources

from alembic import command
from alembic.config import Config


def migrate(database_url: str) -> None:
    """Run every migration that the database lacks."""
    with configured(database_url) as config:
        command.upgrade(config, "head")


@contextmanager
def configured(database_url: str) -> Iterator[Config]:
    """Yield alembic's configuration for a database, with the migrations of this release."""
    config = Config()
    with resources.as_file(resources.files("migrations")) as folder:
        # `%` begins a substitution in alembic's configuration.
        config.set_main_option("script_location", str(folder).replace("%", "%%"))
        config.attributes["database_url"] = database_url
        yield config
