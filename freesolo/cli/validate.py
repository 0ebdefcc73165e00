"""`freesolo validate`."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click

from freesolo.base_models.store import present
from freesolo.cli.context import App, call_seconds_option, json_option, sandbox_option
from freesolo.domain.catalog import BUILT_IN
from freesolo.errors import EnvironmentFailed, FreesoloError, InvalidEnvironment
from freesolo.package.audit_facts import AuditFacts
from freesolo.package.checks import Finding, Report, Severity, check_folder
from freesolo.package.files import has_manifest
from freesolo.package.local_secrets import find_secrets
from freesolo.package.prompts import BaseModel
from freesolo.package.report import LengthFacts, UseFacts, report_document
from freesolo.package.static import declared_secrets
from freesolo.runtime.client import HostOptions

_MARKS = {
    Severity.ERROR: ("error", "bold red"),
    Severity.WARNING: ("warning", "yellow"),
    Severity.INFO: ("info", "dim"),
}
_MOST_ROWS = 5
_CUT = 60


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@call_seconds_option
@sandbox_option
@json_option(
    "ok, findings[] (code, severity, message, rows, traceback, path, line), layers, code, uses[] "
    "(configs, data, lengths, audit)"
)
@click.pass_context
def validate(context: click.Context, folder: Path, *, sandbox: str, call_seconds: float) -> None:
    """Check the environment in FOLDER: its files, its data, its contract, its rewards."""
    app: App = context.obj
    app.out.talk(f"Checking {folder} ...")
    # A folder without a manifest gets its name when it is published, whatever it is called here.
    try:
        options = app.host_options(sandbox, call_seconds=call_seconds)
        report = check(
            app, folder, options=options, name=None if has_manifest(folder) else "unnamed"
        )
    except FreesoloError as error:
        # Whoever reads the document gets one, whatever this machine or a hub lacks.
        unchecked = Finding("not_checked", Severity.ERROR, error.message)
        app.out.document(report_document(Report((unchecked,))))
        raise
    app.out.document(report_document(report))
    show_report(app, report)
    if report.ok:
        app.out.next_step(f"freesolo publish {folder}")
    else:
        context.exit(exit_code(report))


def check(app: App, folder: Path, *, options: HostOptions, name: str | None) -> Report:
    """Check a folder with what is on this machine: its secrets, its base models."""

    # Asked for each config, and a look at hundreds of megabytes.
    @cache
    def base_model(model_id: str) -> BaseModel | None:
        entry = BUILT_IN.get(model_id)
        return BaseModel(entry, present(entry, app.settings.cache)) if entry else None

    found = find_secrets(declared_secrets(folder), Path.cwd())
    return check_folder(
        folder,
        options,
        name=name,
        secrets={name: secret.value for name, secret in found.items()},
        find_foundation=app.environments.foundation_of,
        find_model=base_model,
    )


def show_report(app: App, report: Report) -> None:
    """Print the verdict, the findings from the gravest on, and what was measured."""
    app.out.data(verdict(report), style="bold" if report.ok else "bold red")
    for finding in report.by_severity():
        _show_finding(app, finding)
    for use in report.uses:
        _show_use(app, use, named=len(report.uses) > 1)
    if report.layers:
        app.out.talk(f"Its code was fenced in by: {', '.join(report.layers)}.")


def verdict(report: Report) -> str:
    """Say in a line what the findings come to."""
    counts = [
        f"{count} {severity.value}{'s' if count > 1 and severity is not Severity.INFO else ''}"
        for severity in Severity
        if (count := sum(1 for _ in report.of(severity)))
    ]
    found = f": {', '.join(counts)}" if counts else ""
    return f"The environment is {'sound' if report.ok else 'not sound'}{found}."


def exit_code(report: Report) -> int:
    """Return 0 for a sound environment, 7 if the author's code failed, else 2."""
    if report.ok:
        return 0
    failure = EnvironmentFailed if report.code_failed else InvalidEnvironment
    return failure.exit_code


def _show_finding(app: App, finding: Finding) -> None:
    mark, style = _MARKS[finding.severity]
    place = ":".join(str(part) for part in (finding.path, finding.line) if part)
    app.out.data()
    app.out.data(f"{mark:<8}{finding.code}{f'  {place}' if place else ''}", style=style)
    app.out.data(f"        {finding.message}{_rows(finding)}")
    if finding.traceback:
        app.out.data(
            "".join(f"        | {line}\n" for line in finding.traceback.splitlines()).rstrip()
        )


def _show_use(app: App, use: UseFacts, *, named: bool) -> None:
    lines = dict(_measured(use))
    if lines:
        app.out.data()
        if named:
            app.out.data(f"Measured with {', '.join(use.configs)}", style="bold")
        app.out.fields(lines)
    if use.audit is not None:
        _show_audit(app, use.audit)


def _measured(use: UseFacts) -> Iterator[tuple[str, str]]:
    if use.data is not None:
        data = use.data
        held_out = f", {data.cases} held-out cases" if data.cases else ""
        yield "rows", f"{data.rows}, {data.labelled} with a gold answer{held_out}"
        if data.largest_share is not None:
            answers = f"{data.distinct_outputs} different"
            yield "gold answers", f"{answers}, the most frequent {data.largest_share:.0%}"
    for lengths in use.lengths:
        yield "tokens", _tokens(lengths)
    if use.audit is None:
        return
    if apart := use.audit.separation:
        yield "separation", f"AUC {apart.auc:.3f} ({apart.low:.3f} to {apart.high:.3f})"
    if latency := use.audit.latency:
        yield (
            "reward takes",
            f"{_seconds(latency.p50)} (p50), {_seconds(latency.p99)} (p99); a step of "
            f"{latency.rollouts} rollouts waits {_seconds(latency.step_seconds)}",
        )


def _show_audit(app: App, audit: AuditFacts) -> None:
    if audit.kinds:
        app.out.data()
        app.out.table(
            ("answer", "tried", "mean reward", "as good as gold"),
            [
                (kind.kind, kind.answers, f"{kind.mean_reward:.3f}", f"{kind.as_gold:.0%}")
                for kind in audit.kinds
            ],
        )
    if audit.worst:
        app.out.data()
        app.out.table(
            ("row", "answer", "text", "reward", "gold", "gold's reward"),
            [
                (
                    each.row,
                    each.kind,
                    _cut(each.text),
                    f"{each.reward:.3f}",
                    _cut(each.gold),
                    f"{each.gold_reward:.3f}",
                )
                for each in audit.worst
            ],
        )


def _tokens(lengths: LengthFacts) -> str:
    how = "" if lengths.exact else ", estimated"
    return (
        f"median {lengths.median}, 95 % up to {lengths.p95}, longest {lengths.longest} of the "
        f"{lengths.limit} that {lengths.config} allows{how}"
    )


def _seconds(value: float) -> str:
    return f"{value * 1000:.3g} ms" if value < 1 else f"{value:.3g} s"


def _cut(text: str) -> str:
    """Return a text on one line, cut to what a table can show."""
    line = " ".join(text.split())
    return line if len(line) <= _CUT else f"{line[:_CUT]}..."


def _rows(finding: Finding) -> str:
    if not finding.rows:
        return ""
    shown = ", ".join(str(row) for row in finding.rows[:_MOST_ROWS])
    return f" (rows {shown}{', ...' if len(finding.rows) > _MOST_ROWS else ''})"
