"""The hub's commands for its owner: `fsck`, `gc`, `backup`, `restore`."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import click
from sqlalchemy import Engine, make_url
from sqlalchemy.orm import Session

from freesolo.errors import NotFound
from hub_server.blobs import BlobStore, open_blobs
from hub_server.db import create_database, create_readers, create_sessions
from hub_server.encryption import Vault
from hub_server.maintenance import backup as backups
from hub_server.maintenance.checking import Health, check
from hub_server.maintenance.collecting import collect, find_garbage
from hub_server.migrating import migrate
from hub_server.settings import HubSettings
from hub_server.signing import Signer

_json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON document on standard output."
)
_folder_argument = click.argument("folder", type=click.Path(file_okay=False, path_type=Path))


@click.command()
@_json_option
@click.pass_obj
def fsck(settings: HubSettings, *, as_json: bool) -> None:
    """Check everything that was ever acknowledged. Leaves with 1 if something is wrong.

    Reads every blob; the hub may run meanwhile.
    """
    blobs = _prepared(settings)
    with _database(settings) as engine, _snapshot(engine) as session:
        health = check(session, blobs, Signer(settings).public_keys, vault=Vault(settings))
    if as_json:
        click.echo(json.dumps(asdict(health)))
    else:
        _tell(health)
    if health.findings:
        sys.exit(1)


@click.command()
@click.option("--dry-run", is_flag=True, help="Say what would go, and remove nothing.")
@_json_option
@click.pass_obj
def gc(settings: HubSettings, *, dry_run: bool, as_json: bool) -> None:
    """Remove the bytes that nothing has needed for a day. The hub does it daily by itself."""
    blobs, now = _prepared(settings), datetime.now(UTC)
    with _database(settings) as engine:
        if dry_run:
            with create_readers(engine)() as session:
                garbage = find_garbage(session, blobs, now=now)
        else:
            garbage = collect(create_sessions(engine), blobs, now=now)
    if as_json:
        click.echo(json.dumps({"dry_run": dry_run, **asdict(garbage)}))
        return
    click.echo(
        f"{'Would remove' if dry_run else 'Removed'} {len(garbage.blobs)} blobs of "
        f"{garbage.bytes} bytes, and the pieces of {len(garbage.uploads)} uploads."
    )


@click.command()
@_folder_argument
@_json_option
@click.pass_obj
def backup(settings: HubSettings, *, folder: Path, as_json: bool) -> None:
    """Copy the database, the keys and every blob to FOLDER; the hub may run meanwhile.

    Again into the same folder, only new blobs are copied.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    copied = backups.back_up(settings, _prepared(settings), folder, now=datetime.now(UTC))
    _tell_copied(copied, folder, as_json=as_json, done="Backed up")


@click.command()
@_folder_argument
@_json_option
@click.pass_obj
def restore(settings: HubSettings, *, folder: Path, as_json: bool) -> None:
    """Fill an empty hub from the backup in FOLDER, and check what came of it."""
    blobs = open_blobs(settings)
    copied = backups.restore(settings, blobs, folder)
    # The backup may be of an older release.
    migrate(settings.database)
    with _database(settings) as engine, _snapshot(engine) as session:
        health = check(session, blobs, Signer(settings).public_keys, vault=Vault(settings))
    _tell_copied(copied, folder, as_json=as_json, done="Restored")
    if health.findings:
        _tell(health)
        sys.exit(1)


def _prepared(settings: HubSettings) -> BlobStore:
    _require_hub(settings)
    blobs = open_blobs(settings)
    blobs.prepare()
    return blobs


def _require_hub(settings: HubSettings) -> None:
    """Raise `NotFound` rather than make an empty database where none was."""
    database = make_url(settings.database)
    if database.get_backend_name() == "sqlite" and not Path(str(database.database)).exists():
        raise NotFound(
            f"There is no hub in {settings.data_dir}: it has no database {database.database}.",
            hint="FREESOLO_SERVER_DATA_DIR, or `--data-dir` of `freesolo hub`, says where it is.",
        )


@contextmanager
def _database(settings: HubSettings) -> Iterator[Engine]:
    engine = create_database(settings.database)
    try:
        yield engine
    finally:
        engine.dispose()


@contextmanager
def _snapshot(engine: Engine) -> Iterator[Session]:
    """Open a session that sees the database as of one moment."""
    if engine.dialect.name == "postgresql":
        engine = engine.execution_options(isolation_level="REPEATABLE READ")
    with create_readers(engine)() as session:
        yield session


def _tell(health: Health) -> None:
    for finding in health.findings:
        click.echo(f"{finding.what}: {finding.problem}")
    click.echo(
        f"{len(health.findings)} findings in {health.versions} versions, {health.blobs} blobs and "
        f"{health.changes} changes; {health.orphans} blobs of {health.orphan_bytes} bytes wait "
        "for the garbage collection."
    )


def _tell_copied(copied: backups.Copied, folder: Path, *, as_json: bool, done: str) -> None:
    if as_json:
        click.echo(json.dumps({"folder": str(folder), **asdict(copied)}))
        return
    click.echo(
        f"{done} {copied.blobs} blobs of {copied.bytes} bytes, {copied.new_blobs} of them copied "
        f"now: {folder}"
    )
