"""`freesolo info` and `versions`: what is known of an environment."""

from collections.abc import Mapping

import click

from freesolo.cli.context import App, json_option, pass_app
from freesolo.domain.refs import EnvRef
from freesolo.schemas.checks import CheckSummary, VersionChecks
from freesolo.schemas.environments import EnvironmentInfo, VersionSummary


@click.command()
@click.argument("ref")
@click.option("--checks", is_flag=True, help="Show what its publisher's `validate` said.")
@json_option(
    "ref, version, state, tree_digest, archive_digest, size, yanked, yank_reason, channels[], "
    "latest_version, visibility, summary, license, tags[], deprecated, deprecation, successor, "
    "archived, downloads, unpacked_size, file_count, requires_python, dependencies[], "
    "environments[], secrets[], network, checks (errors, warnings, infos, forced), published_at; with --checks ref, "
    "version, report"
)
@pass_app
def info(app: App, ref: str, *, checks: bool) -> None:
    """Show what is known of the version that REF means."""
    found = app.hub.info(EnvRef.parse(ref))
    if checks:
        _show_checks(app, app.hub.checks(EnvRef.parse(found.ref), found.version))
        return
    app.out.document(found.model_dump(mode="json"))
    app.out.fields(_fields(found))
    app.out.next_step(f"freesolo pull {found.ref}@{found.version}")


@click.command()
@click.argument("ref")
@json_option(
    "ref, versions[] (version, state, tree_digest, size, yanked, yank_reason, channels[], checks, "
    "published_at)"
)
@pass_app
def versions(app: App, ref: str) -> None:
    """List the versions of the environment REF, the newest first."""
    found = app.hub.environment(EnvRef.parse(ref))
    app.out.document(found.model_dump(mode="json", include={"ref", "versions"}))
    app.out.table(
        ("version", "published", "state", "channels", "checks", "bytes", "tree digest"),
        [
            (
                each.version,
                f"{each.published_at:%Y-%m-%d}",
                _state(each),
                ", ".join(each.channels),
                _checks(each.checks),
                each.size,
                each.tree_digest,
            )
            for each in found.versions
        ],
    )
    app.out.next_step(f"freesolo info {found.ref}@VERSION")


def _fields(found: EnvironmentInfo) -> Mapping[str, object]:
    """Return what people want to know; what does not apply is left out."""
    values: dict[str, object] = {
        "environment": found.ref,
        "version": f"{found.version} ({_standing(found)})",
        "summary": found.summary,
        "license": found.license,
        "tags": ", ".join(found.tags),
        "visibility": found.visibility,
        "channels": ", ".join(found.channels),
        "deprecated": found.deprecation,
        "use instead": found.successor,
        "archived": "yes, it takes no new versions" if found.archived else "",
        "published": f"{found.published_at:%Y-%m-%d %H:%M} UTC",
        "tree digest": found.tree_digest,
        "size": f"{found.file_count} files, {found.unpacked_size} bytes ({found.size} packed)",
        "downloads": found.downloads,
        "python": found.requires_python,
        "packages": ", ".join(found.dependencies),
        "builds on": ", ".join(found.environments),
        "secrets": ", ".join(found.secrets),
        "network": "yes" if found.network else "no",
        "checks": _checks(found.checks),
    }
    return {name: value for name, value in values.items() if value not in ("", None)}


def _show_checks(app: App, said: VersionChecks) -> None:
    app.out.document(said.model_dump(mode="json"))
    app.out.data(f"{said.ref} {said.version}: {_checks(said.report)}")
    if said.report is None:
        return
    if reward := said.report.reward:
        app.out.data(f"AUC {reward.auc:.3f} ({reward.low:.3f} to {reward.high:.3f})")
    for each in said.report.findings:
        place = ":".join(str(part) for part in (each.path, each.line) if part)
        app.out.data(f"{each.severity:<8}{each.code}{f'  {place}' if place else ''}")
        app.out.data(f"        {each.message}")
    app.out.talk("This is what its publisher sent: a claim, not a proof.")


def _checks(checks: CheckSummary | None) -> str:
    """Say what the publisher's `validate` came to."""
    if checks is None:
        return "none"
    found = [
        f"{count} {name}{'s' if count > 1 else ''}"
        for count, name in ((checks.errors, "error"), (checks.warnings, "warning"))
        if count
    ]
    return ", ".join([*(["forced"] if checks.forced else []), *found]) or "checked"


def _standing(found: EnvironmentInfo) -> str:
    if found.yanked:
        return f"yanked: {found.yank_reason}"
    if found.state == "staged":
        return "staged"
    if found.version == found.latest_version:
        return "the newest"
    return f"the newest is {found.latest_version}" if found.latest_version else "published"


def _state(version: VersionSummary) -> str:
    return f"yanked: {version.yank_reason}" if version.yanked else version.state
