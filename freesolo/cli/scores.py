"""How results of evaluations are shown: suites, cases, and two models side by side."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict

from freesolo.cli.output import Output
from freesolo.domain.evaluations import CaseResult, Comparison, Interval, Outcome, SuiteSummary

SUITE_KEYS = (
    "name, case_count, samples, total, passed, unscorable, unanswered, errors, pass_rate, interval, "
    "mean_score, mean_interval, pass_any, pass_any_interval"
)
COMPARISON_KEYS = (
    "name, cases, left_out, first, second, difference, interval, p_value, first_score, "
    "second_score, score_difference, score_interval, score_p_value, gained, lost, changes[]"
)
_LONGEST = 40


def suite_document(suite: SuiteSummary) -> dict[str, object]:
    """Return a suite's summary as JSON."""
    return {**asdict(suite), "errors": suite.errors}


def show_suites(out: Output, rows: Sequence[tuple[str, SuiteSummary]]) -> None:
    """Print a line for each suite, with the model that was asked."""
    several = any(suite.samples > 1 for _, suite in rows)
    headers = ("model", "suite", "passed", "95 % interval", "mean score", "95 % interval")
    errors = ("unscorable", "unanswered")
    out.table(
        (*headers, *(("pass@k",) if several else ()), *errors),
        [
            (
                *(name, suite.name, _passed(suite), span(suite.interval, percent=True)),
                *(_number(suite.mean_score), span(suite.mean_interval)),
                *((_any(suite),) if several else ()),
                *(suite.unscorable, suite.unanswered),
            )
            for name, suite in rows
        ],
    )


def show_cases(out: Output, results: Iterable[CaseResult]) -> None:
    """Print a line for each answer."""
    out.table(
        ("case", "prompt", "expected", "answer", "score", "outcome"),
        [
            (
                *(_id(result), cell(result.prompt), cell(result.expected), cell(result.answer)),
                *(_number(result.score), _outcome(result)),
            )
            for result in results
        ],
    )


def show_comparison(out: Output, comparison: Comparison, names: Sequence[str]) -> None:
    """Print how the second model differs from the first, and in which cases."""
    out.data(f"{comparison.name}: {names[1]} against {names[0]}, {comparison.cases} cases")
    first, second = f"{comparison.first:.1%}", f"{comparison.second:.1%}"
    out.table(
        ("", "first", "second", "difference", "95 % interval", "p"),
        [
            (
                *("passed", first, second, f"{comparison.difference:+.1%}"),
                *(span(comparison.interval, percent=True), p_value(comparison.p_value)),
            ),
            (
                *("mean score", _number(comparison.first_score), _number(comparison.second_score)),
                f"{comparison.score_difference:+.3f}",
                *(span(comparison.score_interval), p_value(comparison.score_p_value)),
            ),
        ],
    )
    out.data(f"{comparison.gained} cases gained, {comparison.lost} lost.")
    if comparison.left_out:
        out.data(f"{comparison.left_out} cases were not scored for both, and are left out.")
    if comparison.changes:
        out.table(
            ("case", "prompt", "expected", "first", "second", "change"),
            [
                (
                    *(change.first.id, cell(change.first.prompt), cell(change.first.expected)),
                    *(cell(change.first.answer), cell(change.second.answer)),
                    "gained" if change.difference > 0 else "lost",
                )
                for change in comparison.changes
            ],
        )


def comparison_document(comparison: Comparison) -> dict[str, object]:
    """Return a comparison as JSON."""
    return asdict(comparison)


def span(interval: Interval | None, *, percent: bool = False) -> str:
    """Return an interval as people read it."""
    if interval is None:
        return ""
    return "{:.1%} to {:.1%}".format(*interval) if percent else "{:.3f} to {:.3f}".format(*interval)


def p_value(value: float) -> str:
    """Return a p-value as people read it."""
    return "< 0.0001" if value < 0.0001 else f"{value:.4f}"


def cell(text: str | None) -> str:
    """Return text on one line, cut to the width of a column."""
    line = " ".join((text or "").split())
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 3]}..."


def _passed(suite: SuiteSummary) -> str:
    if suite.pass_rate is None:
        return "-"
    scored = suite.total - suite.unscorable - suite.unanswered
    return f"{suite.pass_rate:.1%} ({suite.passed} of {scored})"


def _any(suite: SuiteSummary) -> str:
    share = "-" if suite.pass_any is None else f"{suite.pass_any:.1%}"
    return f"{share} (k = {suite.samples}, {span(suite.pass_any_interval, percent=True)})"


def _id(result: CaseResult) -> str:
    return f"{result.id} #{result.sample + 1}" if result.sample else result.id


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _outcome(result: CaseResult) -> str:
    if result.outcome in (Outcome.PASSED, Outcome.FAILED):
        return result.outcome.value
    return f"{result.outcome.value}: {cell(result.error)}"
