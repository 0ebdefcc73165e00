"""What became of an environment between two states of it: its files, its dataset, its code."""

import difflib
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from freesolo.domain.manifest import MANIFEST_NAME
from freesolo.domain.packaging import MAX_TREE_BYTES
from freesolo.domain.tree import TreeFile, tree_changes, tree_digest
from freesolo.errors import Problem
from freesolo.package.archive import file_digest
from freesolo.package.dataset_report import fingerprint, shown_row
from freesolo.package.dataset_rows import Budget, Row, RowFile, has_rows
from freesolo.schemas.contents import Cell

_MAX_ROWS = 1_000_000
_EXAMPLES = 3
# A longer text is not compared line by line: nobody would read that.
_MAX_TEXT = 512 * 1024
# What decides about rewards comes first.
_FIRST = ("environment.py", "evaluations.py")

Kind = Literal["added", "removed", "changed"]
# The fingerprint of a row, or of its id.
_Key = int


@dataclass(frozen=True)
class Tree:
    """One state of an environment: a folder, and which of its files belong to it."""

    folder: Path
    paths: tuple[str, ...]

    @cached_property
    def files(self) -> tuple[TreeFile, ...]:
        """Every file with its digest."""
        return tuple(_tree_file(self.folder / path, path) for path in self.paths)

    @property
    def digest(self) -> str:
        """The tree digest, under which this state is or would be published."""
        return tree_digest(self.files)


@dataclass(frozen=True)
class RowExample:
    """One row that changed, as it is shown; `old` or `new` is None where there is none."""

    kind: Kind
    old: dict[str, Cell] | None
    new: dict[str, Cell] | None


@dataclass(frozen=True)
class RowChanges:
    """What became of one dataset file's rows, of which the first few are examples.

    Rows are matched by `id` if each has one of its own, else by content: then none is `changed`.
    `complete` is False if some rows of the file could not be read.
    """

    path: str
    matched_by: Literal["id", "content"]
    counts: Mapping[Kind, int]
    examples: tuple[RowExample, ...]
    complete: bool


@dataclass(frozen=True)
class Patch:
    """The lines of a unified diff of one text file."""

    path: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Difference:
    """How two trees differ: every file, the rows of datasets, the lines of texts, code first."""

    files: tuple[Problem, ...]
    rows: tuple[RowChanges, ...]
    patches: tuple[Patch, ...]


def compare(old: Tree, new: Tree) -> Difference:
    """Return how `new` differs from `old`. Nothing raises but a file that cannot be read."""
    changes = tree_changes(old.files, new.files)
    paths = [change.path for change in changes]
    return Difference(
        files=tuple(changes),
        rows=tuple(_row_changes(old, new, path) for path in paths if has_rows(path)),
        patches=tuple(
            patch
            for path in sorted(paths, key=_by_weight)
            if not has_rows(path) and (patch := _patch(old, new, path))
        ),
    )


def _tree_file(file: Path, path: str) -> TreeFile:
    status = file.stat()
    digest = file_digest(file).removeprefix("sha256:")
    return TreeFile(path, status.st_size, digest, bool(status.st_mode & stat.S_IXUSR))


def _by_weight(path: str) -> tuple[int, str]:
    if path in _FIRST:
        return _FIRST.index(path), path
    if path.endswith(".py"):
        return len(_FIRST), path
    return len(_FIRST) + (1 if path == MANIFEST_NAME else 2), path


def _row_changes(old: Tree, new: Tree, path: str) -> RowChanges:
    before, after = _Rows(old, path), _Rows(new, path)
    by_id = before.have_ids and after.have_ids
    changed = _changed_by_id(before, after) if by_id else _changed_by_content(before, after)
    return RowChanges(
        path=path,
        matched_by="id" if by_id else "content",
        counts={kind: len(keys) for kind, keys in changed.items()},
        examples=tuple(_examples(before, after, changed, by_id=by_id)),
        complete=before.complete and after.complete,
    )


class _Rows:
    """A file's rows by what they can be matched by; the rows themselves stay on the disk."""

    def __init__(self, tree: Tree, path: str) -> None:
        self._file = tree.folder / path if path in tree.paths else None
        self._path = path
        self.complete = True
        self.contents: list[_Key] = []
        self.ids: list[_Key] = []
        for row in self:
            self.contents.append(fingerprint(row))
            if isinstance(row.get("id"), str | int):
                self.ids.append(fingerprint(row["id"]))

    def __iter__(self) -> Iterator[Row]:
        if self._file is None:
            return
        with self._file.open("rb") as stream:
            rows = RowFile(self._path, stream, Budget(_MAX_ROWS, MAX_TREE_BYTES))
            yield from rows
        self.complete = rows.complete and not rows.broken

    @property
    def have_ids(self) -> bool:
        """Whether each row has an id of its own."""
        return len(set(self.ids)) == len(self.contents)

    def find(self, wanted: Iterable[_Key], *, by_id: bool) -> dict[_Key, Row]:
        """Read the rows with these keys."""
        left = set(wanted)
        keys = self.ids if by_id else self.contents
        return {key: row for key, row in zip(keys, self, strict=False) if key in left}


def _changed_by_id(before: _Rows, after: _Rows) -> dict[Kind, list[_Key]]:
    old = dict(zip(before.ids, before.contents, strict=True))
    new = dict(zip(after.ids, after.contents, strict=True))
    return {
        "added": [key for key in new if key not in old],
        "removed": [key for key in old if key not in new],
        "changed": [key for key in new if old.get(key, new[key]) != new[key]],
    }


def _changed_by_content(before: _Rows, after: _Rows) -> dict[Kind, list[_Key]]:
    old, new = Counter(before.contents), Counter(after.contents)
    return {
        "added": list((new - old).elements()),
        "removed": list((old - new).elements()),
        "changed": [],
    }


def _examples(
    before: _Rows, after: _Rows, changed: Mapping[Kind, list[_Key]], *, by_id: bool
) -> Iterator[RowExample]:
    """Yield the first few rows of each kind, read again from the files."""
    shown = {kind: list(dict.fromkeys(keys))[:_EXAMPLES] for kind, keys in changed.items()}
    wanted = [key for keys in shown.values() for key in keys]
    old, new = before.find(wanted, by_id=by_id), after.find(wanted, by_id=by_id)
    for kind, keys in shown.items():
        for key in keys:
            yield RowExample(
                kind,
                old=None if kind == "added" else shown_row(old[key]),
                new=None if kind == "removed" else shown_row(new[key]),
            )


def _patch(old: Tree, new: Tree, path: str) -> Patch | None:
    """Return how a text file changed; None if no line did, or it is no text, or too much of it."""
    before, after = _lines(old, path), _lines(new, path)
    if before is None or after is None:
        return None
    old_name, new_name = (path if path in tree.paths else "/dev/null" for tree in (old, new))
    lines = tuple(difflib.unified_diff(before, after, old_name, new_name, lineterm=""))
    return Patch(path, lines) if lines else None


def _lines(tree: Tree, path: str) -> list[str] | None:
    if path not in tree.paths:
        return []
    file = tree.folder / path
    if file.stat().st_size > _MAX_TEXT:
        return None
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else text.splitlines()
