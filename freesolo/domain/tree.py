"""The tree digest: the identity of a folder's content, whatever archive carries it.

SHA-256 over a canonical listing: a header line, then one line a file, sorted by the UTF-8 bytes of
its path: `<sha256> <size> <mode> <path>`. Compressors, archive formats, owners and times do not
enter it, so the same files have the same digest on every machine.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from freesolo.errors import Problem

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


def tree_changes(old: Iterable[TreeFile], new: Iterable[TreeFile]) -> list[Problem]:
    """Return what became of `old` in `new`, one entry a path, sorted by path.

    The codes are `added`, `removed` and `changed`; the message says how the file differs.
    """
    before = {file.path: file for file in old}
    after = {file.path: file for file in new}
    changes = [
        *(
            Problem(path, f"added, {after[path].size} bytes", "added")
            for path in after.keys() - before.keys()
        ),
        *(
            Problem(path, f"removed, {before[path].size} bytes", "removed")
            for path in before.keys() - after.keys()
        ),
        *(
            Problem(path, f"changed, {_difference(before[path], after[path])}", "changed")
            for path in before.keys() & after.keys()
            if before[path] != after[path]
        ),
    ]
    return sorted(changes, key=lambda change: change.path.encode())


def _difference(old: TreeFile, new: TreeFile) -> str:
    if old.sha256 == new.sha256:
        return "now executable" if new.executable else "no longer executable"
    if old.size == new.size:
        return f"{new.size} other bytes"
    return f"{old.size} -> {new.size} bytes"
