"""Bytes by digest: written once, never changed, found again by what they are."""

import os
import time
from collections.abc import Container
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO, Protocol

from freesolo.errors import BlobNotFound

_ABANDONED = timedelta(hours=1)


class BlobStore(Protocol):
    """A content-addressed store. Digests are `sha256:<hex>`."""

    @property
    def staging(self) -> Path:
        """A local folder for files on their way in."""
        ...

    def prepare(self) -> None:
        """Make the store ready, without what a killed process left half-written."""
        ...

    def put(self, digest: str, file: Path) -> None:
        """Take over `file`, whose bytes have this digest; it is durable when this returns."""
        ...

    def require(self, digest: str) -> None:
        """Raise `BlobNotFound` unless the store holds the bytes."""
        ...

    def open(self, digest: str) -> BinaryIO:
        """Open the bytes for reading; raise `BlobNotFound` if the store has none."""
        ...

    def sweep(self, needed: Container[str], *, age: timedelta) -> None:
        """Remove the blobs that are not needed, but for those put within the last `age`."""
        ...


class FileBlobStore:
    """Blobs as files: `<root>/sha256/<first two digits>/<all digits>`."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @property
    def staging(self) -> Path:
        """The folder beside the blobs, on the same file system, so that a rename is enough."""
        return self._root / "staging"

    def prepare(self) -> None:
        """Make the folders and remove the uploads that a killed hub left behind."""
        self.staging.mkdir(parents=True, exist_ok=True)
        for file in self.staging.iterdir():
            _remove_old(file, _ABANDONED)

    def put(self, digest: str, file: Path) -> None:
        """Move `file` into its place. A second put of the same bytes changes nothing."""
        target = self._path(digest)
        with suppress(FileNotFoundError):
            # As young as if it were new: `sweep` leaves it alone until its row is written.
            os.utime(target)
            return
        _sync(file)
        if not target.parent.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            _sync(target.parent.parent)
        file.replace(target)
        _sync(target.parent)

    def require(self, digest: str) -> None:
        """Look for the blob's file."""
        if not self._path(digest).exists():
            raise _not_stored(digest)

    def open(self, digest: str) -> BinaryIO:
        """Open the blob's file."""
        try:
            return self._path(digest).open("rb")
        except FileNotFoundError:
            raise _not_stored(digest) from None

    def sweep(self, needed: Container[str], *, age: timedelta) -> None:
        """Remove the files of old blobs that nobody needs."""
        for file in (self._root / "sha256").glob("??/*"):
            if f"sha256:{file.name}" not in needed:
                _remove_old(file, age)

    def _path(self, digest: str) -> Path:
        hexadecimal = digest.removeprefix("sha256:")
        return self._root / "sha256" / hexadecimal[:2] / hexadecimal


def _remove_old(file: Path, age: timedelta) -> None:
    # A younger one may belong to another hub process on the same folder, and be gone by now.
    with suppress(FileNotFoundError):
        if time.time() - file.stat().st_mtime > age.total_seconds():
            file.unlink()


def _not_stored(digest: str) -> BlobNotFound:
    return BlobNotFound(f"No bytes with the digest {digest} are stored here.")


def _sync(path: Path) -> None:
    """Force a file or folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
