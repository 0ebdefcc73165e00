"""How alembic reaches the hub's database.

The address comes from the caller (`hub_server migrate`), else from FREESOLO_SERVER_DATABASE_URL,
else it is a throw-away SQLite in memory.
"""

from typing import Literal

from alembic import context
from alembic.autogenerate.api import AutogenContext
from sqlalchemy import Connection
from sqlalchemy.schema import SchemaItem
from sqlalchemy.types import TypeDecorator

from hub_server.db import create_database
from hub_server.models import Base
from hub_server.settings import HubSettings

# Of PostgreSQL's advisory locks, the one that means migrating: "fslo" as a number.
_TURN = 0x66736C6F


def run() -> None:
    """Run the migrations over one connection, all in one transaction."""
    url = context.config.attributes.get("database_url") or HubSettings().database_url
    engine = create_database(url or "sqlite://")
    with engine.connect() as connection:
        _allow_copying(connection)
        context.configure(
            connection=connection,
            target_metadata=Base.metadata,
            # SQLite cannot alter a table in place; there it is copied.
            render_as_batch=connection.dialect.name == "sqlite",
            render_item=_render,
            include_object=_is_ours,
            # Also on SQLite, where `hub_server.db` begins transactions itself.
            transactional_ddl=True,
        )
        with context.begin_transaction():
            _take_turn(connection)
            context.run_migrations()
            _check_references(connection)
    engine.dispose()


def _render(kind: str, item: object, _: AutogenContext) -> str | Literal[False]:
    """Write our column types as what they are in the database: a migration outlives the models."""
    if kind == "type" and isinstance(item, TypeDecorator):
        return f"sa.{item.impl_instance!r}"
    return False


def _is_ours(_: SchemaItem, name: str | None, kind: str, reflected: bool, __: object) -> bool:
    """Leave alone what the models do not speak of: each database's own index for search."""
    of_search = name is not None and name.startswith(("search_index", "ix_search_documents_words"))
    return not (reflected and (of_search or (kind, name) == ("column", "words")))


def _allow_copying(connection: Connection) -> None:
    """Let SQLite drop a table that others refer to, once it was copied.

    It takes this setting only before the transaction, so it goes past SQLAlchemy, which would begin one.
    """
    if connection.dialect.name == "sqlite":
        connection.connection.cursor().execute("PRAGMA foreign_keys = OFF")


def _check_references(connection: Connection) -> None:
    """Raise, and so undo everything, if a migration left a row that refers to nothing."""
    if connection.dialect.name == "sqlite":
        broken = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
        if broken:
            raise RuntimeError(f"The migrations leave {len(broken)} rows that refer to nothing.")


def _take_turn(connection: Connection) -> None:
    """Wait for whoever migrates already, and then for nobody.

    On SQLite the transaction itself is the turn. On PostgreSQL two hubs that start at once would make
    the same table twice; and queueing for a table behind a long transaction would make all of the
    hub queue behind us.
    """
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SET LOCAL statement_timeout = '15min'")
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_TURN})")
        connection.exec_driver_sql("SET LOCAL lock_timeout = '5s'")


run()
