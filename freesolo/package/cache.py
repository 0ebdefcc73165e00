"""Published environments on this machine: unpacked once, and trusted only while they are whole."""

import stat
import tempfile
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from freesolo.domain.packaging import ENVIRONMENT_LIMITS, path_problem
from freesolo.domain.tree import TreeFile, tree_digest
from freesolo.errors import InvalidEnvironment
from freesolo.package.archive import file_digest, unpack_archive
from freesolo.schemas.environments import ResolvedVersion


def cached_environment(
    version: ResolvedVersion, cache_dir: Path, *, download: Callable[[Path], None]
) -> Path:
    """Return the folder with a version's files; `download` writes its archive if that is needed.

    Where nothing fences an environment's code in, it can write to its own folder. So one that is
    there already is used only if it still has the version's digest, and else unpacked again. Raise
    `InvalidEnvironment` if what is downloaded is not this version.
    """
    folder = cache_dir / "environments" / version.tree_digest.removeprefix("sha256:")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.parent / f".{folder.name}.lock"):
        if not _is_intact(folder, version.tree_digest):
            with tempfile.TemporaryDirectory(
                dir=folder.parent, ignore_cleanup_errors=True
            ) as aside:
                if folder.exists():
                    folder.rename(Path(aside) / "changed")
                _unpack(version, folder, Path(aside) / "archive", download=download)
    return folder


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


def _is_intact(folder: Path, expected: str) -> bool:
    paths = (path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    try:
        return tree_digest([_tree_file(folder, path) for path in paths]) == expected
    except (OSError, InvalidEnvironment):
        return False


def _tree_file(folder: Path, path: Path) -> TreeFile:
    name = path.relative_to(folder).as_posix()
    status = path.lstat()
    if not stat.S_ISREG(status.st_mode) or path_problem(name):
        raise InvalidEnvironment(f"{name!r} cannot have come out of an archive.")
    executable = bool(status.st_mode & stat.S_IXUSR)
    return TreeFile(name, status.st_size, file_digest(path).removeprefix("sha256:"), executable)
