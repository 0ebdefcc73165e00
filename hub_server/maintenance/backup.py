"""Backups: a copy of the database, of every blob it refers to, and of the hub's own keys.

    DIR/manifest.json       what belongs to the backup, with digests; written last
    DIR/database-<digest>   SQLite's file, or PostgreSQL's archive
    DIR/keys/               the keys that sign receipts and encrypt secrets
    DIR/blobs/sha256/...    shared by all backups in this folder: only new ones are copied

Consistent while the hub runs: blobs are copied before the database, and those that came meanwhile
after it. What the copy of the database refers to was either there before, and so is copied, or is
too young to be removed.
"""

import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal, get_args

from pydantic import AwareDatetime, ValidationError
from sqlalchemy import URL, Engine, inspect, make_url, text
from sqlalchemy.orm import Session

from freesolo.errors import BlobNotFound, HubNotEmpty, InvalidInput, Unavailable
from freesolo.package.archive import file_digest
from freesolo.schemas.base import Digest, Wire
from hub_server.blobs import BlobStore, FileBlobStore
from hub_server.db import create_database, create_readers
from hub_server.maintenance.checking import fetched
from hub_server.settings import HubSettings
from hub_server.storage import service as storage

_MANIFEST = "manifest.json"
_DATABASE = "database"
_KEYS = "keys"
_KeyFile = Literal["signing-key.pem", "encryption-key"]


class StoredFile(Wire):
    """A file of the backup."""

    digest: Digest
    size: int


class Manifest(Wire):
    """What belongs to a backup. Blobs are named by digest, keys by file name."""

    created_at: AwareDatetime
    kind: Literal["sqlite", "postgresql"]
    database: StoredFile
    keys: dict[_KeyFile, StoredFile]
    blobs: dict[str, int]


@dataclass(frozen=True)
class Copied:
    """What a backup holds, and how many of its blobs were copied just now."""

    blobs: int
    bytes: int
    new_blobs: int


def back_up(settings: HubSettings, blobs: BlobStore, folder: Path, *, now: datetime) -> Copied:
    """Write a backup of a running hub, or bring the one in `folder` up to date."""
    store = _blobs_in(folder)
    engine = create_database(settings.database)
    with create_readers(engine)() as session:
        new = _copy_blobs(_needed(session), blobs, store, missing_ok=True)
    with _database_copied(engine, folder) as (copy, needed):
        new += _copy_blobs(needed, blobs, store, missing_ok=False)
        database = _describe(copy)
        # Beside the last one, which stays whole until the manifest names this one.
        copy.replace(_database_in(folder, database))
    engine.dispose()
    manifest = Manifest(
        created_at=now,
        kind="sqlite" if _is_sqlite(engine.url) else "postgresql",
        database=database,
        keys=_copy_keys(settings, folder),
        blobs=needed,
    )
    _write(folder / _MANIFEST, manifest.model_dump_json(indent=1))
    for former in set(folder.glob(f"{_DATABASE}-*")) - {_database_in(folder, database)}:
        former.unlink()
    return Copied(len(needed), sum(needed.values()), new)


def restore(settings: HubSettings, blobs: BlobStore, folder: Path) -> Copied:
    """Fill an empty hub from a backup, every byte of which is checked before the database appears.

    Raise `HubNotEmpty` if the hub has tables already, and `InvalidInput` for a damaged backup.
    """
    manifest = _read_manifest(folder)
    database = make_url(settings.database)
    _check_target(settings, database, manifest)
    copy = _database_in(folder, manifest.database)
    _check_file(copy, manifest.database)
    for name, described in manifest.keys.items():
        _check_file(folder / _KEYS / name, described)
    blobs.prepare()
    store = _blobs_in(folder)
    _copy_blobs(manifest.blobs, store, blobs, missing_ok=False)
    for name in manifest.keys:
        shutil.copyfile(folder / _KEYS / name, settings.data_dir / name)
    _restore_database(copy, database)
    return Copied(len(manifest.blobs), sum(manifest.blobs.values()), len(manifest.blobs))


def _database_in(folder: Path, described: StoredFile) -> Path:
    return folder / f"{_DATABASE}-{described.digest.removeprefix('sha256:')}"


def _blobs_in(folder: Path) -> FileBlobStore:
    store = FileBlobStore(folder / "blobs")
    store.prepare()
    return store


def _needed(session: Session) -> dict[str, int]:
    return {reference.digest: reference.size for reference in storage.references(session)}


def _copy_blobs(
    needed: Mapping[str, int], source: BlobStore, target: BlobStore, *, missing_ok: bool
) -> int:
    """Copy what `target` lacks, each blob whole and with its digest checked; return how many."""
    present = {entry.digest for entry in target.blobs() if entry.size == needed.get(entry.digest)}
    copied = 0
    for digest in sorted(needed.keys() - present):
        try:
            _copy_blob(digest, source, target)
        except BlobNotFound:
            if not missing_ok:
                raise
            # Deleted since we asked; the database's copy will not refer to it.
            continue
        copied += 1
    return copied


def _copy_blob(digest: str, source: BlobStore, target: BlobStore) -> None:
    with fetched(source, digest, into=target.staging) as (path, found):
        if found != digest:
            raise InvalidInput(
                f"The bytes of {digest} have the digest {found}.",
                hint="They were damaged where they lie; `fsck` tells what else is.",
            )
        with tempfile.NamedTemporaryFile(dir=target.staging, delete=False) as copy:
            shutil.copyfile(path, copy.name)
        target.put(digest, Path(copy.name))


@contextmanager
def _database_copied(engine: Engine, folder: Path) -> Iterator[tuple[Path, dict[str, int]]]:
    """Yield a copy of the database as of one moment, and the blobs that it refers to."""
    copy = folder / f".{_DATABASE}.new"
    copy.unlink(missing_ok=True)
    if _is_sqlite(engine.url):
        with (
            closing(sqlite3.connect(str(engine.url.database))) as source,
            closing(sqlite3.connect(copy)) as target,
        ):
            source.backup(target)
        copied = create_database(f"sqlite:///{copy}")
        with create_readers(copied)() as session:
            needed = _needed(session)
        copied.dispose()
        yield copy, needed
        return
    repeatable = engine.execution_options(isolation_level="REPEATABLE READ")
    with Session(repeatable) as session:
        snapshot = session.scalar(text("SELECT pg_export_snapshot()"))
        dump = ("--format=custom", f"--snapshot={snapshot}", f"--file={copy}")
        _postgres("pg_dump", engine.url, *dump)
        yield copy, _needed(session)


def _copy_keys(settings: HubSettings, folder: Path) -> dict[_KeyFile, StoredFile]:
    """Copy the keys that lie in the data folder; those given by settings are the operator's."""
    (folder / _KEYS).mkdir(mode=0o700, exist_ok=True)
    keys: dict[_KeyFile, StoredFile] = {}
    for name in get_args(_KeyFile):
        if (settings.data_dir / name).exists():
            shutil.copyfile(settings.data_dir / name, folder / _KEYS / name)
            keys[name] = _describe(folder / _KEYS / name)
    return keys


def _read_manifest(folder: Path) -> Manifest:
    try:
        return Manifest.model_validate_json((folder / _MANIFEST).read_bytes())
    except (OSError, ValidationError):
        raise InvalidInput(
            f"{folder} holds no complete backup: its {_MANIFEST} is missing or damaged.",
            hint="A backup that was interrupted has none; name the folder of one that was not.",
        ) from None


def _check_target(settings: HubSettings, database: URL, manifest: Manifest) -> None:
    if _is_sqlite(database) != (manifest.kind == "sqlite"):
        raise InvalidInput(
            f"The backup is of a {manifest.kind} database, but the hub's is {database.drivername}.",
            hint="FREESOLO_SERVER_DATABASE_URL names the hub's database.",
        )
    if found := _what_is_in(database):
        raise HubNotEmpty(
            f"The hub's database already holds {found}.",
            hint="Restore into a new data folder or an empty database.",
        )
    settings.data_dir.mkdir(parents=True, exist_ok=True)


def _what_is_in(database: URL) -> str:
    """Name what a database holds, '' if it is empty."""
    if _is_sqlite(database):
        path = Path(str(database.database))
        # Opening the file would make it; a journal without its file would be taken for ours.
        return ", ".join(sorted(file.name for file in path.parent.glob(f"{path.name}*")))
    engine = create_database(database.render_as_string(hide_password=False))
    tables = inspect(engine).get_table_names()
    engine.dispose()
    return f"{len(tables)} tables" if tables else ""


def _check_file(path: Path, described: StoredFile) -> None:
    if not path.exists() or file_digest(path) != described.digest:
        raise InvalidInput(
            f"{path} is missing or damaged: it should have the digest {described.digest}.",
            hint="Restore from another backup.",
        )


def _restore_database(copy: Path, database: URL) -> None:
    if not _is_sqlite(database):
        options = ("--no-owner", "--single-transaction", "--exit-on-error")
        _postgres("pg_restore", database, *options, str(copy))
        return
    target = Path(str(database.database))
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.new")
    shutil.copyfile(copy, temporary)
    temporary.replace(target)


def _postgres(program: str, database: URL, *arguments: str) -> None:
    """Run one of PostgreSQL's programs on a database, whose password is on no command line."""
    address = database.set(drivername="postgresql", password=None)
    found = shutil.which(program)
    if found is None:
        raise Unavailable(
            f"PostgreSQL's program {program} is not on this machine.",
            hint="Install the package `postgresql-client`, of the server's version or newer.",
        )
    password = {"PGPASSWORD": str(database.password)} if database.password else {}
    result = subprocess.run(
        [found, f"--dbname={address.render_as_string(hide_password=False)}", *arguments],
        env={"PATH": str(Path(found).parent), **password},
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        raise Unavailable(f"{program} failed.", hint=f"It said: {result.stderr.strip()}")


def _is_sqlite(database: URL) -> bool:
    return database.get_backend_name() == "sqlite"


def _describe(path: Path) -> StoredFile:
    return StoredFile(digest=file_digest(path), size=path.stat().st_size)


def _write(path: Path, content: str) -> None:
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_text(content)
    temporary.replace(path)
