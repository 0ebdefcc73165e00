"""What an environment package may contain: paths, sizes, and what is left out.

The same rules hold when the client packs a folder and when the hub or another client reads an
archive. Sizes are bytes.
"""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from freesolo.errors import Problem

MAX_ARCHIVE_BYTES = 64 * 1024**2
MAX_TREE_BYTES = 256 * 1024**2
MAX_FILE_BYTES = 128 * 1024**2
MAX_FILES = 5000
# What common file systems take: characters of a path, bytes of each of its parts.
_MAX_PATH = 1024
_MAX_PART = 255
_MAX_DEPTH = 32

# Names of files and folders, in any case of letters, that are in no package: what holds keys, what
# only versions or runs the rest. The client leaves them out, whatever an ignore file says, and the
# reader of an archive refuses them.
NEVER_PACKED = (
    ".git",
    ".hg",
    ".svn",
    ".venv",
    "__pycache__",
    "*.py[co]",
    ".env",
    ".env.*",
    "*.key",
    "*.pem",
    "id_dsa*",
    "id_ecdsa*",
    "id_ed25519*",
    "id_rsa*",
)
# They show which variables to set, without the values.
_EXAMPLES = frozenset({".env.example", ".env.sample", ".env.template"})

# gitignore patterns that an author's own .gitignore or .freesoloignore may take back with `!`.
DEFAULT_IGNORES = (
    "*.pyd",
    "venv/",
    ".ipynb_checkpoints/",
    ".mypy_cache/",
    ".pytest_cache/",
    ".ruff_cache/",
    ".DS_Store",
    "Thumbs.db",
    ".idea/",
    ".vscode/",
    "node_modules/",
)

_WINDOWS_DEVICES = re.compile(r"(?:con|prn|aux|nul|(?:com|lpt)[0-9\u00b9\u00b2\u00b3])(?:\..*)?")


@dataclass(frozen=True)
class Limits:
    """How large a tree may be. `max_ratio` bounds how far an archive of one may unpack."""

    max_files: int
    max_file_bytes: int
    max_tree_bytes: int
    max_archive_bytes: int
    max_ratio: int | None = None


ENVIRONMENT_LIMITS = Limits(
    max_files=MAX_FILES,
    max_file_bytes=MAX_FILE_BYTES,
    max_tree_bytes=MAX_TREE_BYTES,
    max_archive_bytes=MAX_ARCHIVE_BYTES,
    max_ratio=50,
)
# A checkpoint of a large adapter with its optimizer state.
ARTIFACT_LIMITS = Limits(
    max_files=1000,
    max_file_bytes=64 * 1024**3,
    max_tree_bytes=128 * 1024**3,
    max_archive_bytes=128 * 1024**3,
)


def never_packed(name: str) -> str | None:
    """Return the rule by which a file or folder of this name is in no package, or None."""
    folded = name.casefold()
    if folded in _EXAMPLES:
        return None
    return next((rule for rule in NEVER_PACKED if fnmatchcase(folded, rule)), None)


def path_problem(path: str) -> str | None:
    """Say why `path` may not be in a package, or return None if it may."""
    if len(path) > _MAX_PATH:
        return f"has more than {_MAX_PATH} characters"
    if unicodedata.normalize("NFC", path) != path:
        return "is not in Unicode normal form C"
    if any(unicodedata.category(character).startswith("C") for character in path):
        return "contains a control character"
    if "\\" in path or ":" in path:
        return "contains `\\` or `:`"
    if not path or path.startswith("/"):
        return "is not relative"
    parts = path.split("/")
    if len(parts) > _MAX_DEPTH:
        return f"has more than {_MAX_DEPTH} parts"
    return next((reason for reason in map(_part_problem, parts) if reason), None)


def _part_problem(part: str) -> str | None:
    if part in ("", ".", ".."):
        return "contains an empty part, `.` or `..`"
    if len(part.encode()) > _MAX_PART:
        return f"has a part of more than {_MAX_PART} bytes"
    if part.endswith((".", " ")):
        return "has a part that ends with a dot or a space"
    if _WINDOWS_DEVICES.fullmatch(part.casefold()):
        return "has a part that Windows reserves"
    if rule := never_packed(part):
        return f"is never packed, by the rule `{rule}`"
    return None


class PathSet:
    """The paths of one tree as they come, so that none is added that some system takes for another."""

    def __init__(self) -> None:
        self._added: set[str] = set()
        self._known: dict[str, tuple[str, bool]] = {}

    def add(self, path: str, *, is_folder: bool = False) -> str | None:
        """Remember a path and its folders; return the path that it collides with, or None."""
        if path in self._added:
            return path
        self._added.add(path)
        parts = path.split("/")
        parents = ("/".join(parts[:depth]) for depth in range(1, len(parts)))
        clashes = (self._clash(parent, is_folder=True) for parent in parents)
        return next(filter(None, clashes), None) or self._clash(path, is_folder=is_folder)

    def _clash(self, path: str, *, is_folder: bool) -> str | None:
        folded = unicodedata.normalize("NFC", path.casefold())
        known = self._known.setdefault(folded, (path, is_folder))
        return None if known == (path, is_folder) else known[0]


def tree_problems(sizes: Iterable[tuple[str, int]], limits: Limits) -> list[Problem]:
    """Check the paths and sizes of a whole tree, each item `(path, size)`."""
    problems: list[Problem] = []
    paths = PathSet()
    total = count = 0
    for path, size in sizes:
        count += 1
        total += size
        if reason := path_problem(path):
            problems.append(Problem(path, f"The path {reason}.", "path"))
        elif other := paths.add(path):
            problems.append(
                Problem(path, f"The path collides with {other!r} on some systems.", "path")
            )
        if size > limits.max_file_bytes:
            problems.append(
                Problem(path, f"{size} bytes; a file may have {limits.max_file_bytes}.", "size")
            )
    if count > limits.max_files:
        problems.append(
            Problem("", f"{count} files; a package may have {limits.max_files}.", "size")
        )
    if total > limits.max_tree_bytes:
        problems.append(
            Problem(
                "", f"{total} bytes in all; a package may have {limits.max_tree_bytes}.", "size"
            )
        )
    return problems
