"""`freesolo validate`."""

from pathlib import Path

import click

from freesolo.cli.context import App, json_option, sandbox_option
from freesolo.errors import EnvironmentFailed, InvalidEnvironment
from freesolo.package.checks import Finding, Report, Severity, check_folder
from freesolo.package.files import has_manifest

_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
_MARKS = {Severity.ERROR: "error  ", Severity.WARNING: "warning", Severity.INFO: "info   "}


@click.command()
@click.argument("folder", type=_FOLDER)
@sandbox_option
@json_option("ok, findings[] (code, severity, message, rows, traceback), layers")
@click.pass_context
def validate(context: click.Context, folder: Path, *, sandbox: str) -> None:
    """Check the environment in FOLDER: its files, its contract, its rewards on gold answers."""
    app: App = context.obj
    app.out.talk(f"Checking {folder} ...")
    # A folder without a manifest gets its name when it is published, whatever it is called here.
    name = None if has_manifest(folder) else "unnamed"
    report = check_folder(
        folder,
        app.host_options(sandbox),
        name=name,
        find_foundation=app.environments.foundation_of,
    )
    app.out.document(report_document(report))
    show_report(app, report)
    if report.ok:
        app.out.next_step(f"freesolo publish {folder}")
    else:
        context.exit(exit_code(report))


def report_document(report: Report) -> dict[str, object]:
    """Return a report as `--json` prints it."""
    return {
        "ok": report.ok,
        "layers": list(report.layers),
        "findings": [
            {
                "code": finding.code,
                "severity": finding.severity,
                "message": finding.message,
                "rows": list(finding.rows),
                "traceback": finding.traceback,
            }
            for finding in report.findings
        ],
    }


def show_report(app: App, report: Report) -> None:
    """Print findings, the gravest first, and the verdict."""
    for finding in sorted(
        report.findings, key=lambda finding: list(Severity).index(finding.severity)
    ):
        app.out.data(
            f"{_MARKS[finding.severity]} {finding.code}: {finding.message}{_rows(finding)}"
        )
        if finding.traceback:
            app.out.data(finding.traceback.rstrip())
    if report.layers:
        app.out.talk(f"Its code was fenced in by: {', '.join(report.layers)}.")
    errors = sum(finding.severity is Severity.ERROR for finding in report.findings)
    app.out.data("The environment is sound." if report.ok else f"{errors} error(s) to mend.")


def exit_code(report: Report) -> int:
    """Return 0 for a sound environment, 7 if the author's code failed, else 2."""
    if report.ok:
        return 0
    failure = EnvironmentFailed if report.code_failed else InvalidEnvironment
    return failure.exit_code


def _rows(finding: Finding) -> str:
    if not finding.rows:
        return ""
    shown = ", ".join(str(row) for row in finding.rows[:5])
    return f" (rows {shown}{', ...' if len(finding.rows) > 5 else ''})"
