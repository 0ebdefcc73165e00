"""What a store of bytes can do, and where in a store the bytes lie."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Protocol

from freesolo.errors import BlobNotFound

# What a digest names never changes, but only key holders may see it.
FOR_EVER = "private, max-age=31536000, immutable"
BYTES = "application/octet-stream"


@dataclass(frozen=True)
class StorageKey:
    """A place in a store, and how its bytes are described on their way out."""

    path: str
    content_type: str = BYTES
    cache_control: str = "no-store"

    @classmethod
    def blob(cls, digest: str) -> "StorageKey":
        """Return the place of a blob: `sha256/<first two digits>/<all digits>`."""
        hexadecimal = digest.removeprefix("sha256:")
        return cls(f"sha256/{hexadecimal[:2]}/{hexadecimal}", cache_control=FOR_EVER)

    @classmethod
    def part(cls, upload_id: str, part: "Part") -> "StorageKey":
        """Return the place of a piece of an upload: `parts/<upload>/<offset>-<size>`."""
        return cls(f"parts/{upload_id}/{part.offset}-{part.size}")


@dataclass(frozen=True, order=True)
class Part:
    """A piece of an upload: `size` bytes that belong at `offset`."""

    offset: int
    size: int

    @classmethod
    def parse(cls, name: str) -> "Part":
        """Read the last component of a part's place."""
        offset, _, size = name.partition("-")
        return cls(int(offset), int(size))


@dataclass(frozen=True)
class BlobEntry:
    """One blob in the listing of a store."""

    digest: str
    size: int
    modified: datetime


class BlobStore(Protocol):
    """A content-addressed store. Digests are `sha256:<hex>`.

    Whatever it is asked, a store that does not answer raises `StorageUnavailable`.
    """

    @property
    def staging(self) -> Path:
        """A local folder for files on their way in."""
        ...

    def prepare(self) -> None:
        """Make the local folders, without what a killed process left half-written."""
        ...

    def check(self) -> None:
        """Raise unless the store takes writes now."""
        ...

    def put(self, digest: str, file: Path) -> None:
        """Take over `file`, whose bytes have this digest; it is durable when this returns."""
        ...

    def size(self, digest: str) -> int:
        """Return how many bytes the blob has; raise `BlobNotFound` if the store has none."""
        ...

    def open(self, digest: str) -> BinaryIO:
        """Open the bytes for reading and seeking; raise `BlobNotFound` if the store has none."""
        ...

    def local_path(self, digest: str) -> Path | None:
        """Return the blob's file on this machine, or None for a store that has no files."""
        ...

    def link(self, digest: str, *, filename: str | None) -> str | None:
        """Return an address that hands out the bytes for a few minutes, or None if there is none."""
        ...

    def delete(self, digest: str) -> None:
        """Remove the blob, if there is one."""
        ...

    def blobs(self) -> Iterator[BlobEntry]:
        """List every blob."""
        ...

    def put_part(self, upload_id: str, offset: int, file: Path, *, digest: str) -> None:
        """Take over `file` as the piece of an upload that belongs at `offset`."""
        ...

    def parts(self, upload_id: str) -> list[Part]:
        """List the pieces of an upload that are here whole, by offset."""
        ...

    def open_part(self, upload_id: str, part: Part) -> BinaryIO:
        """Open a piece of an upload for reading; raise `BlobNotFound`, now or then, if it is gone."""
        ...

    def delete_parts(self, upload_id: str) -> None:
        """Remove every piece of an upload."""
        ...

    def uploads(self) -> set[str]:
        """Return the ids of all uploads that have pieces here."""
        ...


def not_stored(digest: str) -> BlobNotFound:
    """Return the error for bytes that are not here."""
    return BlobNotFound(f"No bytes with the digest {digest} are stored here.")
