"""Folders of attempts on a machine that has no worker of its own to remove what was left."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

_LOCKS = "locks"


@contextmanager
def attempt_folder(work_dir: Path, name: str) -> Iterator[Path]:
    """Make the folder of an attempt and remove it afterwards, with those of attempts that were killed.

    A lock says whose process lives: the system lets go of it whatever ends the process.
    """
    folder, locks = work_dir / name, work_dir / _LOCKS
    locks.mkdir(parents=True, exist_ok=True)
    with FileLock(locks / name):
        _sweep(work_dir, locks)
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    (locks / name).unlink(missing_ok=True)


def _sweep(work_dir: Path, locks: Path) -> None:
    for left in work_dir.glob("run-*"):
        lock = FileLock(locks / left.name)
        try:
            with lock.acquire(blocking=False):
                shutil.rmtree(left, ignore_errors=True)
        except Timeout:
            # Its attempt lives.
            continue
        (locks / left.name).unlink(missing_ok=True)
