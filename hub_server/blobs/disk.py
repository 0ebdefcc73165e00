"""Blobs as files on a local disk."""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO

from hub_server.blobs.store import BlobEntry, Part, StorageKey, not_stored

_ABANDONED = timedelta(hours=1)


class FileBlobStore:
    """A folder with a file for each blob, which appears whole or not at all."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @property
    def staging(self) -> Path:
        """The folder beside the blobs, on the same file system, so that a rename is enough."""
        return self._root / "staging"

    def prepare(self) -> None:
        """Make the folder of files on their way in, and remove what a killed hub left there."""
        clear_abandoned(self.staging)

    def check(self) -> None:
        """Write a few bytes to where uploads go."""
        with tempfile.TemporaryFile(dir=self.staging) as file:
            file.write(b"ready")

    def put(self, digest: str, file: Path) -> None:
        """Move `file` into its place. A second put of the same bytes changes nothing."""
        target = self._path(StorageKey.blob(digest))
        with suppress(FileNotFoundError):
            if target.stat().st_size == file.stat().st_size:
                file.unlink()
                return
        self._move(file, target)

    def size(self, digest: str) -> int:
        """Look at the blob's file."""
        try:
            return self._path(StorageKey.blob(digest)).stat().st_size
        except FileNotFoundError:
            raise not_stored(digest) from None

    def open(self, digest: str) -> BinaryIO:
        """Open the blob's file."""
        try:
            return self._path(StorageKey.blob(digest)).open("rb")
        except FileNotFoundError:
            raise not_stored(digest) from None

    def local_path(self, digest: str) -> Path | None:
        """Return the blob's file."""
        return self._path(StorageKey.blob(digest))

    def link(self, digest: str, *, filename: str | None) -> str | None:
        """Return None: files have no address of their own."""
        return None

    def delete(self, digest: str) -> None:
        """Remove the blob's file."""
        self._path(StorageKey.blob(digest)).unlink(missing_ok=True)

    def blobs(self) -> Iterator[BlobEntry]:
        """List the files of all blobs."""
        for file in sorted((self._root / "sha256").glob("??/*")):
            # Another hub on the same folder may remove it meanwhile.
            with suppress(FileNotFoundError):
                found = file.stat()
                modified = datetime.fromtimestamp(found.st_mtime, UTC)
                yield BlobEntry(f"sha256:{file.name}", found.st_size, modified)

    def put_part(self, upload_id: str, offset: int, file: Path, *, digest: str) -> None:
        """Move `file` into the upload's folder."""
        self._move(file, self._part(upload_id, Part(offset, file.stat().st_size)))

    def parts(self, upload_id: str) -> list[Part]:
        """List the upload's folder."""
        return sorted(Part.parse(file.name) for file in (self._parts / upload_id).glob("*"))

    def open_part(self, upload_id: str, part: Part) -> BinaryIO:
        """Open the piece's file."""
        path = self._part(upload_id, part)
        try:
            return path.open("rb")
        except FileNotFoundError:
            raise not_stored(StorageKey.part(upload_id, part).path) from None

    def delete_parts(self, upload_id: str) -> None:
        """Remove the upload's folder."""
        with suppress(FileNotFoundError):
            shutil.rmtree(self._parts / upload_id)

    def uploads(self) -> set[str]:
        """Return the names of all uploads' folders."""
        return {folder.name for folder in self._parts.glob("*")}

    @property
    def _parts(self) -> Path:
        return self._root / "parts"

    def _part(self, upload_id: str, part: Part) -> Path:
        return self._path(StorageKey.part(upload_id, part))

    def _path(self, key: StorageKey) -> Path:
        return self._root / key.path

    def _move(self, file: Path, target: Path) -> None:
        _sync(file)
        if not target.parent.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            _sync(target.parent.parent)
        file.replace(target)
        _sync(target.parent)


def clear_abandoned(staging: Path) -> None:
    """Make a folder for files on their way in; remove from it what nobody is writing any more."""
    staging.mkdir(parents=True, exist_ok=True)
    for file in staging.iterdir():
        # A younger one may belong to another hub process on the same folder, and be gone by now.
        with suppress(FileNotFoundError):
            if time.time() - file.stat().st_mtime > _ABANDONED.total_seconds():
                file.unlink()


def _sync(path: Path) -> None:
    """Force a file or folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
