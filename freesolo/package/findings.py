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


@dataclass(frozen=True)
class Report:
    """All findings, and whether the author's code failed while it was run.

    `layers` names the sandbox layers that were on; it is empty if nothing was run.
    """

    findings: tuple[Finding, ...]
    code_failed: bool = False
    layers: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether there is no error."""
        return not any(finding.severity is Severity.ERROR for finding in self.findings)
