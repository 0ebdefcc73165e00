"""An environment's folder on disk: which files belong to the package, and its manifest."""

import os
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import tomlkit
from pathspec import GitIgnoreSpec

from freesolo.domain.manifest import MANIFEST_NAME, Manifest
from freesolo.domain.packaging import DEFAULT_IGNORES, never_packed
from freesolo.domain.refs import check_name
from freesolo.errors import InvalidEnvironment, InvalidManifest
from freesolo.runtime.client import read_manifest

IGNORE_FILES = (".gitignore", ".freesoloignore")


@dataclass(frozen=True)
class PackedFile:
    """A file that goes into the package: its path, `/`-separated, and its size in bytes."""

    path: str
    size: int


@dataclass(frozen=True)
class LeftOut:
    """A file or, with `/` at its end, a folder that stays out, and the rule that says so."""

    path: str
    rule: str


@dataclass(frozen=True)
class FileSelection:
    """What of a folder is packed and what is not, each sorted by path."""

    packed: tuple[PackedFile, ...]
    left_out: tuple[LeftOut, ...]

    @property
    def paths(self) -> list[str]:
        """The paths of all packed files."""
        return [file.path for file in self.packed]

    @property
    def size(self) -> int:
        """The bytes of all packed files."""
        return sum(file.size for file in self.packed)


def select_files(folder: Path) -> FileSelection:
    """Decide for every path under `folder` whether it is packed, and why not.

    Left out is what is never packed, what git would ignore by the `.gitignore` and
    `.freesoloignore` of the folder and of those in it, and what we ignore unless they say otherwise.
    Raise `InvalidEnvironment` for a link, since what it points to would not travel, and for a name
    that is not UTF-8.
    """
    walk = _Walk(folder)
    walk.run()
    return FileSelection(
        tuple(sorted(walk.packed, key=lambda file: file.path.encode())),
        tuple(sorted(walk.left_out, key=lambda item: item.path.encode())),
    )


def collect_files(folder: Path) -> list[str]:
    """Return the paths that are packed, sorted. Raise as `select_files` does."""
    return select_files(folder).paths


def copy_files(folder: Path, paths: Iterable[str], target: Path) -> None:
    """Copy `paths` of `folder` into the folder `target`."""
    for path in paths:
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / path, target / path)


def has_manifest(folder: Path) -> bool:
    """Say whether the folder says its own name and version."""
    return (folder / MANIFEST_NAME).is_file()


def load_manifest(folder: Path, *, name: str | None = None) -> Manifest:
    """Return the folder's manifest; without one, a manifest for `name` at version 0.1.0.

    Raise `InvalidManifest` if there is neither, or if `name` contradicts the manifest, and
    `InvalidRef` if `name` cannot be one.
    """
    manifest = read_manifest(folder)
    if manifest is None:
        if name is None:
            raise InvalidManifest(
                f"{folder} has no {MANIFEST_NAME}.",
                hint="Write one, or give the environment a name with `--name`.",
            )
        return Manifest(name=check_name(name, "environment"))
    if name not in (None, manifest.name):
        raise InvalidManifest(
            f"{name!r} is not the name in {MANIFEST_NAME}, which is {manifest.name!r}.",
            hint="Leave out `--name`, or change the manifest.",
        )
    return manifest


def write_version(folder: Path, version: str) -> None:
    """Set `version` in the folder's manifest, and leave the rest of it as it was written."""
    path = folder / MANIFEST_NAME
    with path.open(encoding="utf-8", newline="") as file:
        document = tomlkit.parse(file.read())
    document["environment"]["version"] = version
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        changed = Path(scratch) / MANIFEST_NAME
        with changed.open("w", encoding="utf-8", newline="") as file:
            file.write(tomlkit.dumps(document))
        shutil.copymode(path, changed)
        changed.replace(path)


class _Rules:
    """The lines of one ignore file; `base` is its folder, empty or with `/` at its end."""

    def __init__(self, base: str, source: str, lines: Sequence[str]) -> None:
        self._base = base
        self._source = source
        self._lines = lines
        # An empty line would not count; a comment does.
        self._spec = GitIgnoreSpec.from_lines(line or "#" for line in lines)

    def verdict(self, path: str) -> tuple[bool, str] | None:
        """Say whether `path` is left out and by which line, or None if no line is about it."""
        result = self._spec.check_file(path.removeprefix(self._base))
        if result.include is None or result.index is None:
            return None
        line = self._lines[result.index].strip()
        return result.include, f"`{line}`, {self._source}"


class _Walk:
    """One pass over a folder."""

    def __init__(self, root: Path) -> None:
        self._root = root
        # Folders to enter, each with the rules that hold around it.
        self._pending: list[tuple[str, tuple[_Rules, ...]]] = [
            ("", (_Rules("", "by default", DEFAULT_IGNORES),))
        ]
        self.packed: list[PackedFile] = []
        self.left_out: list[LeftOut] = []

    def run(self) -> None:
        """Sort every entry of every folder into what is packed and what is left out."""
        while self._pending:
            base, outer = self._pending.pop()
            rules = (*outer, *_own_rules(self._root, base))
            with os.scandir(self._root / base) as entries:
                for entry in entries:
                    self._sort(entry, base, rules)

    def _sort(self, entry: os.DirEntry[str], base: str, rules: tuple[_Rules, ...]) -> None:
        path = f"{base}{entry.name}{'/' if entry.is_dir() else ''}"
        if rule := _why_left_out(entry.name, path, rules):
            self.left_out.append(LeftOut(_shown(path), _shown(rule)))
            return
        _refuse_name_and_link(entry, path)
        if entry.is_dir():
            self._pending.append((path, rules))
        elif entry.is_file():
            self.packed.append(PackedFile(path, entry.stat().st_size))
        else:
            self.left_out.append(LeftOut(_shown(path), "not a regular file"))


def _own_rules(root: Path, base: str) -> tuple[_Rules, ...]:
    files = ((name, root / base / name) for name in IGNORE_FILES)
    return tuple(
        # As the system gives us the names of files: a byte that is not UTF-8 still matches.
        _Rules(
            base,
            f"{base}{name}",
            path.read_text(encoding="utf-8", errors="surrogateescape").splitlines(),
        )
        for name, path in files
        if path.is_file()
    )


def _why_left_out(name: str, path: str, rules: Sequence[_Rules]) -> str | None:
    if rule := never_packed(name):
        return f"`{rule}`, never packed"
    verdicts = (of_one.verdict(path) for of_one in reversed(rules))
    ignored, rule = next(filter(None, verdicts), (False, None))
    return rule if ignored else None


def _refuse_name_and_link(entry: os.DirEntry[str], path: str) -> None:
    if not _is_utf8(path):
        raise InvalidEnvironment(
            f"The name {path!r} is not UTF-8.",
            hint="Rename the file, or leave it out with .freesoloignore.",
        )
    if entry.is_symlink():
        raise InvalidEnvironment(
            f"{path.rstrip('/')!r} is a link.", hint="Copy the file, or add it to .freesoloignore."
        )


def _shown(text: str) -> str:
    """Return text that can be printed, where the name of a file is not UTF-8."""
    return os.fsencode(text).decode(errors="replace")


def _is_utf8(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True
