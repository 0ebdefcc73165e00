"""`freesolo hub`: what the owner of a platform on this machine does with its hub's data."""

import os
import subprocess
import sys
from pathlib import Path

import click

from freesolo.cli.context import App, json_option, pass_app
from freesolo.config import DEFAULT_GATEWAY_PORT, DEFAULT_HUB_PORT
from freesolo.supervisor import Platform

_data_dir_option = click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the platform's data; `data` in FREESOLO_HOME by default.",
)
_folder_argument = click.argument("folder", type=click.Path(file_okay=False, path_type=Path))


@click.group()
def hub() -> None:
    """Check, clean, back up and restore the data of the hub that `freesolo up` runs.

    On a hub that was started otherwise: `python -m hub_server fsck|gc|backup|restore`.
    """


@hub.command()
@_data_dir_option
@json_option("findings, blobs, versions, changes, orphans, orphan_bytes")
@pass_app
def fsck(app: App, *, data_dir: Path | None) -> int:
    """Check everything that was ever acknowledged; leave with 1 if something is wrong."""
    return _run(app, data_dir, "fsck")


@hub.command()
@click.option("--dry-run", is_flag=True, help="Say what would go, and remove nothing.")
@_data_dir_option
@json_option("blobs, bytes, uploads, dry_run")
@pass_app
def gc(app: App, *, dry_run: bool, data_dir: Path | None) -> int:
    """Remove the bytes that nothing has needed for a day; the hub does it daily by itself."""
    return _run(app, data_dir, "gc", *(["--dry-run"] if dry_run else []))


@hub.command()
@_folder_argument
@_data_dir_option
@json_option("folder, blobs, bytes, new_blobs")
@pass_app
def backup(app: App, *, folder: Path, data_dir: Path | None) -> int:
    """Copy the hub's database, keys and blobs to FOLDER, also while it runs.

    Again into the same folder, only new blobs are copied.
    """
    code = _run(app, data_dir, "backup", str(folder))
    if not code:
        app.out.next_step(f"freesolo hub restore {folder} --data-dir NEW_FOLDER")
    return code


@hub.command()
@_folder_argument
@_data_dir_option
@json_option("folder, blobs, bytes, new_blobs")
@pass_app
def restore(app: App, *, folder: Path, data_dir: Path | None) -> int:
    """Fill a platform's data folder, where no hub was yet, from the backup in FOLDER."""
    code = _run(app, data_dir, "restore", str(folder))
    if not code:
        app.out.next_step(f"freesolo up --data-dir {data_dir}" if data_dir else "freesolo up")
    return code


def _run(app: App, data_dir: Path | None, *arguments: str) -> int:
    """Run one of the hub's own commands on a platform's data, and return its exit code.

    What it prints is the answer, and what it fails with the error: both pass through.
    """
    platform = Platform(
        data_dir=(data_dir or app.settings.default_data_dir).expanduser().resolve(),
        hub_port=DEFAULT_HUB_PORT,
        gateway_port=DEFAULT_GATEWAY_PORT,
        cache_dir=app.settings.cache,
    )
    as_json = ["--json"] if app.out.json_mode else []
    # The hub's processes inherit this one's environment, as programs that a shell starts do.
    environ = {**os.environ, **platform.settings()}  # noqa: TID251
    command = [sys.executable, "-m", "hub_server", *arguments, *as_json]
    return subprocess.run(command, env=environ, check=False).returncode
