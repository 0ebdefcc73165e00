"""What is kept on this machine because it can be had again: environments, interpreters, models.

Published environments are unpacked once, and trusted only while they are whole.
"""

import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from freesolo.domain.packaging import ENVIRONMENT_LIMITS, path_problem
from freesolo.domain.tree import TreeFile
from freesolo.domain.tree import tree_digest as tree_digest_of
from freesolo.errors import InvalidEnvironment
from freesolo.package.archive import file_digest, unpack_archive
from freesolo.schemas.environments import ResolvedVersion

# The folder of each kind, and what is in it.
KINDS = {
    "environments": "files of published environments, by tree digest",
    "venvs": "virtual environments, by what they were made from",
    "contracts": "the modules of ours that environments import",
    "base-models": "base models that were fetched or converted, by their source",
}


@dataclass(frozen=True)
class CacheEntry:
    """One folder of the cache; `size` is in bytes."""

    kind: str
    path: Path
    size: int


def list_cache(cache_dir: Path) -> list[CacheEntry]:
    """Return what the cache holds, by kind and name. What is just being made is left out."""
    return [
        CacheEntry(kind, folder, _size(folder))
        for kind in KINDS
        for folder in sorted(cache_dir.glob(f"{kind}/[!.]*"))
        if folder.is_dir()
    ]


def remove_entry(entry: CacheEntry) -> None:
    """Remove a folder of the cache, in one step for whoever looks for it."""
    with FileLock(_lock_of(entry.path)), _beside(entry.path) as aside:
        if entry.path.exists():
            entry.path.rename(aside / "removed")


def remove_leftovers(cache_dir: Path) -> None:
    """Remove what processes that were killed had begun to make; what is just being made stays."""
    for kind in KINDS:
        for leftover in filter(Path.is_dir, cache_dir.glob(f"{kind}/.*-*")):
            target = leftover.with_name(leftover.name[1:].rpartition("-")[0])
            try:
                # Only who holds the lock makes anything beside the target.
                with FileLock(_lock_of(target), timeout=0):
                    shutil.rmtree(leftover, ignore_errors=True)
            except Timeout:
                continue


def environment_folder(cache_dir: Path, tree_digest: str) -> Path:
    """Return where the cache keeps the files with this tree digest, if it has them."""
    return cache_dir / "environments" / tree_digest.removeprefix("sha256:")


def is_intact(folder: Path, tree_digest: str) -> bool:
    """Say whether a folder holds just the files of this tree digest."""
    paths = (path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    try:
        return tree_digest_of(_tree_file(folder, path) for path in paths) == tree_digest
    except (OSError, InvalidEnvironment):
        return False


def list_files(folder: Path) -> list[str]:
    """Return the paths of a version's files, `/`-separated and sorted."""
    return sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    )


def cached_environment(
    version: ResolvedVersion, cache_dir: Path, *, download: Callable[[Path], None]
) -> Path:
    """Return the folder with a version's files; `download` writes its archive if that is needed.

    Where nothing fences an environment's code in, it can write to its own folder. So one that is
    there already is used only if it still has the version's digest, and else unpacked again. Raise
    `InvalidEnvironment` if what is downloaded is not this version.
    """
    folder = environment_folder(cache_dir, version.tree_digest)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(_lock_of(folder)):
        if not is_intact(folder, version.tree_digest):
            with _beside(folder) as aside:
                if folder.exists():
                    folder.rename(aside / "changed")
                _unpack(version, folder, aside / "archive", download=download)
    return folder


def _lock_of(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.lock")


@contextmanager
def _beside(folder: Path) -> Iterator[Path]:
    """Make a folder on the same disk, hidden from whoever lists the cache."""
    with tempfile.TemporaryDirectory(
        prefix=f".{folder.name}-", dir=folder.parent, ignore_cleanup_errors=True
    ) as aside:
        yield Path(aside)


def _unpack(
    version: ResolvedVersion, folder: Path, archive: Path, *, download: Callable[[Path], None]
) -> None:
    download(archive)
    if (found := file_digest(archive)) != version.archive_digest:
        raise InvalidEnvironment(
            f"The hub sent {found} instead of {version.archive_digest}.",
            hint="The download is damaged; try again.",
        )
    unpack_archive(archive, folder, ENVIRONMENT_LIMITS, expect_tree=version.tree_digest)


def _tree_file(folder: Path, path: Path) -> TreeFile:
    name = path.relative_to(folder).as_posix()
    status = path.lstat()
    if not stat.S_ISREG(status.st_mode) or path_problem(name):
        raise InvalidEnvironment(f"{name!r} cannot have come out of an archive.")
    executable = bool(status.st_mode & stat.S_IXUSR)
    return TreeFile(name, status.st_size, file_digest(path).removeprefix("sha256:"), executable)


def _size(folder: Path) -> int:
    """Return the bytes of a folder's files as they lie on disk; a file with two names counts once."""
    found = {}
    for path in folder.rglob("*"):
        status = path.lstat()
        if stat.S_ISREG(status.st_mode):
            found[status.st_ino] = status.st_blocks * 512
    return sum(found.values())
