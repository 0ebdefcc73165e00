"""What of a report is published: counts of all, the gravest findings, as much as a header holds."""

import json

from freesolo.package.audit_facts import AuditFacts, Separation
from freesolo.package.findings import Finding, Severity
from freesolo.package.report import LengthFacts, Report, UseFacts, checks_of, report_document
from freesolo.schemas.checks import MAX_CHECKS_BYTES, MAX_MESSAGE, CheckReport


def test_a_report_is_published_without_tracebacks() -> None:
    finding = Finding("env_failed", Severity.ERROR, "It raised.", (1, 2), 'File "/home/ada/x.py"')

    checks = checks_of(Report((finding,)), forced=True)

    assert (checks.errors, checks.forced) == (1, True)
    assert "/home/ada" not in checks.header_value()
    assert CheckReport.model_validate_json(checks.header_value()) == checks


def test_of_too_much_the_gravest_is_published_and_all_is_counted() -> None:
    notes = [Finding("few_rows", Severity.INFO, "\u4e2d" * 3000) for _ in range(200)]
    grave = Finding("reward_blind", Severity.WARNING, "Blind.", tuple(range(1000)), path="a" * 999)

    checks = checks_of(Report((*notes, grave)), forced=False)

    assert (checks.warnings, checks.infos) == (1, 200)
    assert checks.findings[0].code == "reward_blind"
    assert all(len(finding.message) <= MAX_MESSAGE for finding in checks.findings)
    assert len(checks.header_value()) <= MAX_CHECKS_BYTES
    assert checks.header_value().isascii()


def test_what_no_database_keeps_is_replaced() -> None:
    finding = Finding("few_rows", Severity.INFO, "a\0b\ud800c")

    assert checks_of(Report((finding,)), forced=False).findings[0].message == "a\ufffdb?c"


def test_how_far_the_reward_tells_right_from_wrong_is_published() -> None:
    audit = AuditFacts(rows=8, labelled=9, separation=Separation(0.9, 0.8, 1.0))

    reward = checks_of(Report((), uses=(UseFacts(("a.toml",), audit=audit),)), forced=False).reward

    assert reward
    assert (reward.rows, reward.auc) == (8, 0.9)


def test_a_document_begins_with_the_gravest_and_is_json() -> None:
    note = Finding("few_rows", Severity.INFO, "Few.")
    error = Finding("secret_found", Severity.ERROR, "A key.", path="notes.txt", line=2)

    document = json.loads(json.dumps(report_document(Report((note, error)))))

    assert document["ok"] is False
    assert [finding["code"] for finding in document["findings"]] == ["secret_found", "few_rows"]


def lengths(model: str, longest: int) -> LengthFacts:
    return LengthFacts("a.toml", model, True, 30, 20, longest, longest, 256, 0)


def test_the_lengths_of_each_base_model_are_published_once_the_longest() -> None:
    uses = (
        UseFacts(("a.toml",), lengths=(lengths("one", 40), lengths("two", 50))),
        UseFacts(("b.toml",), lengths=(lengths("one", 90), lengths("x" * 300, 60))),
    )
    found = checks_of(Report((), uses=uses), forced=False).lengths
    assert [(one.model, one.median, one.longest) for one in found] == [
        ("one", 20, 90),
        ("two", 20, 50),
    ]
