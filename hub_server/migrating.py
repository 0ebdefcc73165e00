"""Bring a database to the tables of this release."""

from importlib import resources

from alembic import command
from alembic.config import Config


def migrate(database_url: str) -> None:
    """Run every migration that the database lacks."""
    config = Config()
    with resources.as_file(resources.files("migrations")) as folder:
        config.set_main_option("script_location", str(folder).replace("%", "%%"))
        config.attributes["database_url"] = database_url
        command.upgrade(config, "head")
