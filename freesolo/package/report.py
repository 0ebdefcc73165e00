"""What `freesolo validate` says of an environment as a whole, for people and programs."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field

from pydantic import JsonValue, TypeAdapter

from freesolo.package.audit_facts import AuditFacts
from freesolo.package.code_checks import CodeFacts
from freesolo.package.dataset_checks import DataFacts
from freesolo.package.findings import Finding, Severity

_DOCUMENT = TypeAdapter(dict[str, object])


@dataclass(frozen=True)
class LengthFacts:
    """How many tokens prompt and gold answer have together, for the base model of one config.

    `limit` is what the config allows, and `beyond` how many of the `rows` that were counted have
    more. `exact` is False for an estimate.
    """

    config: str
    model: str
    exact: bool
    rows: int
    median: int
    p95: int
    longest: int
    limit: int
    beyond: int


@dataclass(frozen=True)
class UseFacts:
    """What was measured of the environment as some configs load it: `configs` is empty without any."""

    configs: tuple[str, ...]
    data: DataFacts | None = None
    lengths: tuple[LengthFacts, ...] = ()
    audit: AuditFacts | None = None


@dataclass(frozen=True)
class Report:
    """All findings, what was measured, and whether the author's code failed while it was run.

    `layers` names the sandbox layers that were on; it is empty if nothing was run.
    """

    findings: tuple[Finding, ...]
    code_failed: bool = False
    layers: tuple[str, ...] = ()
    code: CodeFacts = field(default_factory=CodeFacts)
    uses: tuple[UseFacts, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether there is no error."""
        return not any(self.of(Severity.ERROR))

    def of(self, severity: Severity) -> Iterator[Finding]:
        """Yield the findings of one severity."""
        return (finding for finding in self.findings if finding.severity is severity)

    def by_severity(self) -> list[Finding]:
        """Return all findings, the gravest first."""
        order = list(Severity)
        return sorted(self.findings, key=lambda finding: order.index(finding.severity))


def report_document(report: Report) -> dict[str, JsonValue]:
    """Return a report as `--json` prints it."""
    document = {
        "ok": report.ok,
        "findings": [asdict(finding) for finding in report.by_severity()],
        "layers": report.layers,
        "code": asdict(report.code),
        "uses": [asdict(use) for use in report.uses],
    }
    plain: dict[str, JsonValue] = _DOCUMENT.dump_python(document, mode="json")
    return plain
