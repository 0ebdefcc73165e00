"""`freesolo cache`: what is kept on this machine because it can be had again."""

from collections.abc import Sequence
from pathlib import Path

import click

from freesolo.cli.context import App, json_option, pass_app
from freesolo.package.cache import KINDS, CacheEntry, list_cache, remove_entry, remove_leftovers
from freesolo.package.lockfile import read_lock

# What grows. Converting a base model takes minutes, so that is removed only by its name.
_QUICK = ("environments", "venvs")


@click.group()
def cache() -> None:
    """Show and clear what is kept because it can be had again."""


@cache.command(name="dir")
@json_option("dir")
@pass_app
def cache_dir(app: App) -> None:
    """Print where the cache is; FREESOLO_CACHE_DIR moves it."""
    app.out.document({"dir": str(app.settings.cache)})
    app.out.data(str(app.settings.cache))


@cache.command(name="list")
@json_option("entries[] (kind, name, size), size")
@pass_app
def list_entries(app: App) -> None:
    """List what the cache holds, with sizes in bytes."""
    entries = list_cache(app.settings.cache)
    app.out.document(
        {
            "entries": [
                {"kind": entry.kind, "name": entry.path.name, "size": entry.size}
                for entry in entries
            ],
            "size": _total(entries),
        }
    )
    app.out.table(
        ("kind", "entries", "size", ""),
        [
            (kind, len(of_kind), _readable(_total(of_kind)), meaning)
            for kind, meaning in KINDS.items()
            if (of_kind := [entry for entry in entries if entry.kind == kind])
        ],
    )
    app.out.data(f"{_readable(_total(entries))} in {app.settings.cache}")


@cache.command()
@click.argument("kinds", nargs=-1, type=click.Choice(list(KINDS)), metavar="[KIND]...")
@click.option("--keep-locked", is_flag=True, help="Keep what freesolo.lock here needs.")
@json_option("removed[] (kind, name, size), size")
@pass_app
def clean(app: App, kinds: Sequence[str], *, keep_locked: bool) -> None:
    """Remove what the cache holds of each KIND; without one, environments and venvs.

    It comes back when it is needed.
    """
    kept = _locked_folders(app) if keep_locked else set()
    removed = [
        entry
        for entry in list_cache(app.settings.cache)
        if entry.kind in (kinds or _QUICK) and entry.path not in kept
    ]
    for entry in removed:
        remove_entry(entry)
    remove_leftovers(app.settings.cache)
    app.out.document(
        {
            "removed": [
                {"kind": entry.kind, "name": entry.path.name, "size": entry.size}
                for entry in removed
            ],
            "size": _total(removed),
        }
    )
    app.out.data(f"Removed {len(removed)} folders, {_readable(_total(removed))}.")


def _locked_folders(app: App) -> set[Path]:
    lock = read_lock(Path.cwd())
    return app.environments.folders_of(lock, Path.cwd()) if lock else set()


def _total(entries: Sequence[CacheEntry]) -> int:
    return sum(entry.size for entry in entries)


def _readable(size: int) -> str:
    return f"{size / 1024**2:.1f} MiB"
