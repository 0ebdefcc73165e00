"""The migrations make the tables of the models, on both databases, and unmake them."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, inspect, select
from sqlalchemy.exc import IntegrityError

from freesolo.schemas.usage import Outcome, Witness
from hub_server.accounts import service as accounts
from hub_server.db import create_database, create_sessions
from hub_server.migrating import configured
from hub_server.models import Org, Project, Usage
from tests.postgres import create_database as create_empty_database

BEFORE_THE_LEDGER = "4e0c9d1fa6b8"
WIDER_ORGS = (
    "with op.batch_alter_table('orgs') as orgs: orgs.alter_column('slug', type_=sa.String(100))"
)


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


@pytest.fixture
def database_with_an_org(database_url: str) -> Iterator[Engine]:
    """A migrated database that holds an org and, referring to it, its default project."""
    engine = create_database(database_url)
    with create_sessions(engine).begin() as session:
        accounts.ensure_org(session, "acme", now=datetime.now(UTC))
    yield engine
    engine.dispose()


def test_what_was_counted_before_the_ledger_stays_and_nothing_else(
    database_with_an_org: Engine,
) -> None:
    engine, url = database_with_an_org, database_with_an_org.url
    if engine.dialect.name == "postgresql":
        # Where it is the next day already.
        with engine.begin() as connection:
            connection.exec_driver_sql(f"ALTER DATABASE {url.database} SET timezone = 'Asia/Tokyo'")
    with create_sessions(engine).begin() as session:
        org = session.scalars(select(Org)).one()
        plan = accounts.KeyPlan("tests", ())
        key = accounts.create_key(session, org, plan, now=datetime.now(UTC))
        session.flush()
        session.add_all(
            Usage(
                id=outcome.value,
                org_id=org.id,
                key_id=key.id,
                model="m",
                witness=Witness.GATEWAY,
                outcome=outcome,
                prompt_tokens=1,
                cached_tokens=0,
                completion_tokens=1,
                reasoning_tokens=0,
                amount=0,
                created_at=datetime(2029, 12, 31, 23, 30, tzinfo=UTC),
                day=date(2029, 12, 31),
            )
            for outcome in Outcome
        )
    engine.dispose()
    with configured(url.render_as_string(hide_password=False)) as config:
        command.downgrade(config, BEFORE_THE_LEDGER)
        command.upgrade(config, "head")
    with create_sessions(engine)() as session:
        rows = session.execute(select(Usage.id, Usage.day)).all()
    assert [tuple(row) for row in rows] == [("counted", date(2029, 12, 31))]


def test_a_migration_may_change_a_table_that_others_refer_to(
    database_with_an_org: Engine, tmp_path: Path
) -> None:
    _migrate(database_with_an_org, tmp_path, WIDER_ORGS)
    with create_sessions(database_with_an_org)() as session:
        assert session.scalars(select(Project.slug)).all() == ["default"]


def test_a_migration_that_breaks_references_changes_nothing(
    database_with_an_org: Engine, tmp_path: Path
) -> None:
    with pytest.raises((RuntimeError, IntegrityError)):
        _migrate(database_with_an_org, tmp_path, "op.execute('DELETE FROM orgs')")
    with create_sessions(database_with_an_org)() as session:
        assert session.scalars(select(Org.slug)).all() == ["acme"]


def test_hubs_that_migrate_at_once_take_turns(
    postgres_server: str | None, tmp_path: Path, worker_id: str
) -> None:
    if postgres_server is None:
        pytest.skip("no PostgreSQL")
    url = create_empty_database(postgres_server, f"freesolo_turns_{worker_id}")
    migrating = [
        subprocess.Popen(
            [sys.executable, "-m", "hub_server", "migrate"],
            env={"FREESOLO_SERVER_DATABASE_URL": url, "FREESOLO_SERVER_DATA_DIR": str(tmp_path)},
            stderr=subprocess.PIPE,
        )
        for _ in range(3)
    ]
    ended = [(process.communicate()[1], process.returncode) for process in migrating]
    assert [returncode for _, returncode in ended] == [0, 0, 0], ended


def test_a_statement_of_a_request_cannot_take_for_ever(postgres_url: str) -> None:
    engine = create_database(postgres_url)
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SHOW statement_timeout").scalar_one() == "30s"
    engine.dispose()


def _migrate(engine: Engine, folder: Path, step: str) -> None:
    """Run one more migration after those of the release."""
    with configured(engine.url.render_as_string(hide_password=False)) as config:
        head = ScriptDirectory.from_config(config).get_current_head()
        (folder / "next.py").write_text(
            "import sqlalchemy as sa\nfrom alembic import op\n"
            f"revision, down_revision = 'next', {head!r}\n"
            f"def upgrade() -> None:\n    {step}\n"
        )
        released = Path(config.get_main_option("script_location") or "") / "versions"
        config.set_main_option("path_separator", "newline")
        config.set_main_option("version_locations", f"{released}\n{folder}")
        command.upgrade(config, "next")
