"""A PostgreSQL for tests: the one that TEST_DATABASE_URL names, or one started for the session."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic_settings import BaseSettings
from sqlalchemy import create_engine, make_url, text

_INSTALLED = Path("/usr/lib/postgresql")
# Nothing here outlives the session, so nothing needs to reach the disk.
_OPTIONS = "-c fsync=off -c synchronous_commit=off -c full_page_writes=off -c max_connections=200"


class DatabaseSettings(BaseSettings):
    """Where a PostgreSQL for tests is already running."""

    test_database_url: str | None = None


@contextmanager
def any_postgres() -> Iterator[str | None]:
    """Yield the URL of a server that may create databases, or None where there is no PostgreSQL."""
    if url := DatabaseSettings().test_database_url:
        yield url
        return
    binaries = sorted(
        _INSTALLED.glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]), reverse=True
    )
    if not binaries:
        yield None
        return
    with _started(binaries[0].parent) as url:
        yield url


def create_database(server_url: str, name: str, *, template: str = "template1") -> str:
    """Create a database as a copy of `template` and return its URL."""
    engine = create_engine(server_url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'))
        connection.execute(text(f'CREATE DATABASE "{name}" TEMPLATE "{template}"'))
    engine.dispose()
    return make_url(server_url).set(database=name).render_as_string(hide_password=False)


@contextmanager
def _started(binaries: Path) -> Iterator[str]:
    # A short path: the one of a Unix socket has at most 107 characters.
    folder = Path(tempfile.mkdtemp(prefix="pgt"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    user = _unprivileged()
    if user is not None:
        shutil.chown(folder, user.pw_uid, user.pw_gid)

    def run(program: str, *arguments: str) -> None:
        subprocess.run(
            [binaries / program, "-D", folder / "data", *arguments],
            cwd=folder,
            check=True,
            stdout=subprocess.DEVNULL,
            user=user and user.pw_uid,
            group=user and user.pw_gid,
            extra_groups=user and [],
        )

    try:
        run(
            "initdb", "-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C.UTF-8"
        )
        listening = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 {_OPTIONS}"
        run("pg_ctl", "--wait", "--log", str(folder / "log"), "--options", listening, "start")
        try:
            yield f"postgresql+psycopg://postgres@127.0.0.1:{port}/postgres"
        finally:
            run("pg_ctl", "--wait", "--mode", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _unprivileged() -> pwd.struct_passwd | None:
    """Return whom PostgreSQL runs as where we are root, which it refuses to be."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name: entry for entry in pwd.getpwall()}
    return names.get("postgres") or names["nobody"]
