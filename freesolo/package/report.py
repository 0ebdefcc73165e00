"""What `freesolo validate` says of an environment as a whole: for people, programs and hubs."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field

from pydantic import JsonValue, TypeAdapter

from freesolo import __version__
from freesolo.package.audit_facts import AuditFacts
from freesolo.package.code_checks import CodeFacts
from freesolo.package.dataset_checks import DataFacts
from freesolo.package.findings import Finding, Severity
from freesolo.schemas.checks import (
    MAX_CHECKS_BYTES,
    MAX_FINDINGS,
    MAX_LENGTHS,
    MAX_MESSAGE,
    MAX_MODEL,
    MAX_PATH,
    MAX_ROWS,
    CheckedFinding,
    CheckedLengths,
    CheckedReward,
    CheckReport,
)

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


def checks_of(report: Report, *, forced: bool) -> CheckReport:
    """Return what of a report is published: no author's traceback, texts cut, and of very many
    findings the gravest, as many as fit.
    """
    reward = next(filter(None, map(_reward, report.uses)), None)
    lengths = _lengths(report)[:MAX_LENGTHS]
    findings = [_checked(finding) for finding in report.by_severity()[:MAX_FINDINGS]]
    while True:
        checks = CheckReport(
            errors=sum(1 for _ in report.of(Severity.ERROR)),
            warnings=sum(1 for _ in report.of(Severity.WARNING)),
            infos=sum(1 for _ in report.of(Severity.INFO)),
            forced=forced,
            validator=__version__,
            findings=findings,
            reward=reward,
            lengths=lengths,
        )
        if len(checks.header_value()) <= MAX_CHECKS_BYTES:
            return checks
        findings.pop()


def _checked(finding: Finding) -> CheckedFinding:
    return CheckedFinding(
        code=finding.code,
        severity=finding.severity.value,
        message=_plain(finding.message)[:MAX_MESSAGE],
        rows=list(finding.rows[:MAX_ROWS]),
        path=_plain(finding.path)[:MAX_PATH] if finding.path else None,
        line=finding.line,
    )


def _reward(use: UseFacts) -> CheckedReward | None:
    apart = use.audit.separation if use.audit else None
    if use.audit is None or apart is None:
        return None
    return CheckedReward(rows=use.audit.rows, auc=apart.auc, low=apart.low, high=apart.high)


def _lengths(report: Report) -> list[CheckedLengths]:
    """Return the lengths for each base model of the configs, of several for one model the longest."""
    by_model: dict[str, LengthFacts] = {}
    for facts in (facts for use in report.uses for facts in use.lengths):
        known = by_model.get(facts.model)
        if len(facts.model) <= MAX_MODEL and (known is None or known.longest < facts.longest):
            by_model[facts.model] = facts
    return [
        CheckedLengths(
            model=facts.model,
            exact=facts.exact,
            rows=facts.rows,
            median=facts.median,
            longest=facts.longest,
        )
        for facts in by_model.values()
    ]


def _plain(text: str) -> str:
    """Return text without what JSON or a database would refuse: NUL, and halves of surrogate pairs."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
