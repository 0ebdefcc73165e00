"""The migrations make the tables of the models, on both databases, and unmake them."""

import shutil
from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import inspect

from hub_server.db import create_database
from hub_server.migrating import configured


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A migrated database of each kind."""
    if request.param == "postgresql":
        url: str = request.getfixturevalue("postgres_url")
        return url
    shutil.copy(request.getfixturevalue("migrated_sqlite"), tmp_path / "hub.db")
    return f"sqlite:///{tmp_path / 'hub.db'}"


def test_the_migrations_make_what_the_models_say(database_url: str) -> None:
    with configured(database_url) as config:
        command.check(config)


def test_the_migrations_can_be_undone_and_done_again(database_url: str) -> None:
    with configured(database_url) as config:
        command.downgrade(config, "base")
        engine = create_database(database_url)
        assert inspect(engine).get_table_names() == ["alembic_version"]
        engine.dispose()
        command.upgrade(config, "head")
        command.check(config)
