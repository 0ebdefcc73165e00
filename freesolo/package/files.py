"""An environment's folder on disk: which files belong to the package, and its manifest."""

import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from pathspec import GitIgnoreSpec

from freesolo.domain.manifest import MANIFEST_NAME, Manifest
from freesolo.domain.packaging import DEFAULT_IGNORES
from freesolo.domain.refs import check_name
from freesolo.errors import InvalidEnvironment, InvalidManifest
from freesolo.runtime.client import read_manifest

IGNORE_FILES = (".gitignore", ".freesoloignore")


def collect_files(folder: Path) -> list[str]:
    """Return the paths that are packed, relative to `folder`, `/`-separated and sorted.

    Left out is what git would ignore by the folder's own `.gitignore`, `.freesoloignore` and our
    defaults. Raise `InvalidEnvironment` for a link, since what it points to would not travel, and
    for a name that is not UTF-8.
    """
    ignored = _ignored(folder)
    return sorted(_walk(folder, folder, ignored), key=str.encode)


def copy_files(folder: Path, paths: Iterable[str], target: Path) -> None:
    """Copy `paths` of `folder` into the folder `target`."""
    for path in paths:
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / path, target / path)


def has_manifest(folder: Path) -> bool:
    """Say whether the folder says its own name and version."""
    return (folder / MANIFEST_NAME).is_file()


def load_manifest(folder: Path, *, name: str | None = None) -> Manifest:
    """Return the folder's manifest; without one, a manifest for `name` at version 0.1.0.

    Raise `InvalidManifest` if there is neither, or if `name` contradicts the manifest, and
    `InvalidRef` if `name` cannot be one.
    """
    manifest = read_manifest(folder)
    if manifest is None:
        if name is None:
            raise InvalidManifest(
                f"{folder} has no {MANIFEST_NAME}.",
                hint="Write one, or give the environment a name with `--name`.",
            )
        return Manifest(name=check_name(name, "environment"))
    if name not in (None, manifest.name):
        raise InvalidManifest(
            f"{name!r} is not the name in {MANIFEST_NAME}, which is {manifest.name!r}.",
            hint="Leave out `--name`, or change the manifest.",
        )
    return manifest


def _ignored(folder: Path) -> GitIgnoreSpec:
    patterns = list(DEFAULT_IGNORES)
    for name in IGNORE_FILES:
        path = folder / name
        if path.is_file():
            # As the system gives us the names of files: a byte that is not UTF-8 still matches.
            patterns += path.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    return GitIgnoreSpec.from_lines(patterns)


def _walk(root: Path, folder: Path, ignored: GitIgnoreSpec) -> Iterator[str]:
    with os.scandir(folder) as entries:
        for entry in entries:
            path = Path(entry.path).relative_to(root).as_posix()
            if ignored.match_file(f"{path}/" if entry.is_dir() else path):
                continue
            if not _is_utf8(path):
                raise InvalidEnvironment(
                    f"The name {path!r} is not UTF-8.",
                    hint="Rename the file, or leave it out with .freesoloignore.",
                )
            if entry.is_symlink():
                raise InvalidEnvironment(
                    f"{path!r} is a link.", hint="Copy the file, or add it to .freesoloignore."
                )
            if entry.is_dir():
                yield from _walk(root, Path(entry.path), ignored)
            elif entry.is_file():
                yield path


def _is_utf8(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True
