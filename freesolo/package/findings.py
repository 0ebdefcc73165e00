"""What `freesolo validate` says about an environment."""

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How grave a finding is: errors forbid publishing, warnings are worth a look."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


@dataclass(frozen=True)
class Finding:
    """One thing found. `rows` are places in the dataset that was loaded, counted from 0.

    `path` and `line`, counted from 1, say where in the package it is, if it is in one place.
    `traceback` holds the author's own frames where their code raised.
    """

    code: str
    severity: Severity
    message: str
    rows: tuple[int, ...] = ()
    traceback: str | None = None
    path: str | None = None
    line: int | None = None
