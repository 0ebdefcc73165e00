"""The database: one engine for each process, one transaction for each request."""

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.pool import ConnectionPoolEntry

from hub_server.models import Base

# Seconds that a writer waits for SQLite's one write lock.
_SQLITE_PATIENCE = 30
# Seconds to reach PostgreSQL, and milliseconds that it may spend on one statement: a request that
# waits longer is waited for by nobody, but still holds a thread.
_POSTGRES_PATIENCE = {"connect_timeout": 5, "options": "-c statement_timeout=30000"}
_READ_ONLY = "freesolo_read_only"


def create_database(url: str) -> Engine:
    """Return an engine for SQLite or PostgreSQL; nothing is opened before it is used.

    Its errors, which are logged, do not tell what was written.
    """
    if make_url(url).get_backend_name() != "sqlite":
        # As many connections as there are threads that answer requests.
        return create_engine(
            url,
            pool_size=10,
            max_overflow=30,
            pool_pre_ping=True,
            hide_parameters=True,
            connect_args=_POSTGRES_PATIENCE,
        )
    engine = create_engine(
        url,
        pool_size=10,
        max_overflow=30,
        hide_parameters=True,
        connect_args={"timeout": _SQLITE_PATIENCE},
    )
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin)
    return engine


def create_sessions(engine: Engine) -> sessionmaker[Session]:
    """Return the factory of sessions that write; `with sessions.begin()` is one transaction."""
    return sessionmaker(engine)


def create_readers(engine: Engine) -> sessionmaker[Session]:
    """Return the factory of sessions that only read, and so wait for nobody."""
    return sessionmaker(engine.execution_options(**{_READ_ONLY: True}))


def connect_to_watch(engine: Engine) -> Connection:
    """Return a connection to keep, that reads one statement at a time and waits for nobody."""
    if engine.dialect.name == "sqlite":
        return engine.connect().execution_options(**{_READ_ONLY: True})
    return engine.connect().execution_options(isolation_level="AUTOCOMMIT")


def insert_if_absent(
    session: Session, table: type[Base], rows: Sequence[Mapping[str, object]]
) -> None:
    """Insert the rows that break no unique constraint; wait for rivals that insert the same."""
    if not rows:
        return
    dialect = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
    session.execute(dialect.insert(table).on_conflict_do_nothing(), rows)


def insert_or_update(
    session: Session, table: type[Base], row: Mapping[str, object], *, key: str
) -> None:
    """Insert a row, or write it over the one with the same `key`; wait for whoever removes that."""
    dialect = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
    statement = dialect.insert(table).values(row)
    changed = {name: statement.excluded[name] for name in row if name != key}
    session.execute(statement.on_conflict_do_update(index_elements=[key], set_=changed))


def _prepare_sqlite(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
    # Without this the driver begins transactions by itself, too late and never immediate.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _begin(connection: Connection) -> None:
    # A transaction that reads and then writes cannot wait for the lock; one that begins with it can.
    reads_only = connection.get_execution_options().get(_READ_ONLY, False)
    connection.exec_driver_sql("BEGIN" if reads_only else "BEGIN IMMEDIATE")
