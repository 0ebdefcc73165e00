"""The tree digest: the identity of a folder's content, whatever archive carries it.

SHA-256 over a canonical listing: a header line, then one line a file, sorted by the UTF-8 bytes of
its path: `<sha256> <size> <mode> <path>`. Compressors, archive formats, owners and times do not
enter it, so the same files have the same digest on every machine.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

_HEADER = "freesolo-env-manifest 1\n"


@dataclass(frozen=True)
class TreeFile:
    """One file of a tree. `path` is relative, `/`-separated and in Unicode normal form C."""

    path: str
    size: int
    sha256: str
    executable: bool = False


def tree_digest(files: Iterable[TreeFile]) -> str:
    """Return `sha256:<64 hex>` of the canonical listing of `files`, in any order given."""
    listing = hashlib.sha256(_HEADER.encode())
    for file in sorted(files, key=lambda file: file.path.encode()):
        mode = "100755" if file.executable else "100644"
        listing.update(f"{file.sha256} {file.size} {mode} {file.path}\n".encode())
    return f"sha256:{listing.hexdigest()}"
