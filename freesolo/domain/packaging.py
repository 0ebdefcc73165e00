"""What an environment package may contain: paths, sizes, and what is left out.

The same rules hold when the client packs a folder and when the hub or another client reads an
archive. Sizes are bytes.
"""

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

from freesolo.errors import Problem

MAX_ARCHIVE_BYTES = 64 * 1024**2
MAX_TREE_BYTES = 256 * 1024**2
MAX_FILE_BYTES = 128 * 1024**2
MAX_FILES = 5000
# What common file systems take: characters of a path, bytes of each of its parts.
_MAX_PATH = 1024
_MAX_PART = 255

# gitignore patterns, applied before the author's own .gitignore and .freesoloignore.
DEFAULT_IGNORES = (
    ".git/",
    ".hg/",
    ".svn/",
    "__pycache__/",
    "*.py[cod]",
    ".venv/",
    "venv/",
    ".env",
    ".env.*",
    ".ipynb_checkpoints/",
    ".mypy_cache/",
    ".pytest_cache/",
    ".ruff_cache/",
    ".DS_Store",
    "Thumbs.db",
    ".idea/",
    ".vscode/",
    "*.pem",
    "*.key",
    "id_rsa*",
    "id_ed25519*",
    "node_modules/",
)

_FORBIDDEN_PARTS = frozenset({".git", ".hg", ".svn", "__pycache__", ".venv"})
_WINDOWS_DEVICES = frozenset(
    {"con", "prn", "aux", "nul"} | {f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10)}
)


@dataclass(frozen=True)
class Limits:
    """How large a tree may be."""

    max_files: int
    max_file_bytes: int
    max_tree_bytes: int
    max_archive_bytes: int


ENVIRONMENT_LIMITS = Limits(
    max_files=MAX_FILES,
    max_file_bytes=MAX_FILE_BYTES,
    max_tree_bytes=MAX_TREE_BYTES,
    max_archive_bytes=MAX_ARCHIVE_BYTES,
)
# A checkpoint of a large adapter with its optimizer state.
ARTIFACT_LIMITS = Limits(
    max_files=1000,
    max_file_bytes=64 * 1024**3,
    max_tree_bytes=128 * 1024**3,
    max_archive_bytes=128 * 1024**3,
)


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
    reasons = (_part_problem(part) for part in path.split("/"))
    return next((reason for reason in reasons if reason), None)


def _part_problem(part: str) -> str | None:
    if part in ("", ".", ".."):
        return "contains an empty part, `.` or `..`"
    if len(part.encode()) > _MAX_PART:
        return f"has a part of more than {_MAX_PART} bytes"
    if part.endswith((".", " ")):
        return "has a part that ends with a dot or a space"
    if PurePosixPath(part).stem.casefold() in _WINDOWS_DEVICES:
        return "has a part that Windows reserves"
    if part in _FORBIDDEN_PARTS:
        return "lies in a folder that is never packed"
    return None


def tree_problems(sizes: Iterable[tuple[str, int]], limits: Limits) -> list[Problem]:
    """Check the paths and sizes of a whole tree, each item `(path, size)`."""
    problems: list[Problem] = []
    seen: dict[str, str] = {}
    total = count = 0
    for path, size in sizes:
        count += 1
        total += size
        if reason := path_problem(path):
            problems.append(Problem(path, f"The path {reason}.", "path"))
        folded = path.casefold()
        if folded in seen:
            problems.append(
                Problem(path, f"The path collides with {seen[folded]!r} on some systems.", "path")
            )
        seen[folded] = path
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
