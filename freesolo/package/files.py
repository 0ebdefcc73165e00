"""An environment's folder on disk: which files belong to the package, and its manifest."""

import os
from collections.abc import Iterator
from pathlib import Path

from pathspec import GitIgnoreSpec

from freesolo.domain.manifest import MANIFEST_NAME, Manifest
from freesolo.domain.packaging import DEFAULT_IGNORES
from freesolo.errors import InvalidEnvironment, InvalidManifest
from freesolo.runtime.client import read_manifest

IGNORE_FILES = (".gitignore", ".freesoloignore")


def collect_files(folder: Path) -> list[str]:
    """Return the paths that are packed, relative to `folder`, `/`-separated and sorted.

    Left out is what git would ignore by the folder's own `.gitignore`, `.freesoloignore` and our
    defaults. Raise `InvalidEnvironment` for a link: what it points to would not travel.
    """
    ignored = _ignored(folder)
    return sorted(_walk(folder, folder, ignored), key=str.encode)


def has_manifest(folder: Path) -> bool:
    """Say whether the folder says its own name and version."""
    return (folder / MANIFEST_NAME).is_file()


def load_manifest(folder: Path, *, name: str | None = None) -> Manifest:
    """Return the folder's manifest; without one, a manifest for `name` at version 0.1.0.

    Raise `InvalidManifest` if there is neither, or if `name` contradicts the manifest.
    """
    manifest = read_manifest(folder)
    if manifest is None:
        if name is None:
            raise InvalidManifest(
                f"{folder} has no {MANIFEST_NAME}.",
                hint="Write one, or give the environment a name with `--name`.",
            )
        return Manifest.model_validate({"name": name})
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
            patterns += path.read_text(encoding="utf-8").splitlines()
    return GitIgnoreSpec.from_lines(patterns)


def _walk(root: Path, folder: Path, ignored: GitIgnoreSpec) -> Iterator[str]:
    with os.scandir(folder) as entries:
        for entry in entries:
            path = Path(entry.path).relative_to(root).as_posix()
            if ignored.match_file(f"{path}/" if entry.is_dir() else path):
                continue
            if entry.is_symlink():
                raise InvalidEnvironment(
                    f"{path!r} is a link.", hint="Copy the file, or add it to .freesoloignore."
                )
            if entry.is_dir():
                yield from _walk(root, Path(entry.path), ignored)
            elif entry.is_file():
                yield path
