"""`freesolo publish`."""

import tempfile
from pathlib import Path

import click
from packaging.version import Version

from freesolo.cli.context import App, json_option, pass_app, sandbox_option
from freesolo.cli.validate import show_report
from freesolo.domain.manifest import Manifest
from freesolo.domain.refs import EnvRef, check_name
from freesolo.errors import (
    EnvironmentFailed,
    EnvironmentNotFound,
    FreesoloError,
    InvalidEnvironment,
    Problem,
)
from freesolo.package.archive import Archive, build_archive
from freesolo.package.checks import Report, Severity, check_folder
from freesolo.package.files import collect_files, has_manifest, load_manifest
from freesolo.schemas.environments import PublishedVersion


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--org", help="Organisation to publish under; the key's by default.")
@click.option("--name", help="Name, for a folder without a manifest.")
@click.option("--force", is_flag=True, help="Publish in spite of errors that `validate` finds.")
@sandbox_option
@json_option("ref, version, tree_digest, archive_digest, size, status, published_at")
@pass_app
def publish(
    app: App, folder: Path, *, org: str | None, name: str | None, force: bool, sandbox: str
) -> None:
    """Publish the environment in FOLDER as an immutable version."""
    manifest = load_manifest(folder, name=name)
    # Asked first: without a key or a hub the checks would be for nothing.
    ref = EnvRef(org=check_name(org or app.hub.whoami().org, "org"), name=manifest.name)
    app.out.talk(f"Checking {folder} ...")
    report = check_folder(
        folder,
        app.host_options(sandbox),
        name=name,
        find_foundation=app.environments.foundation_of,
    )
    _refuse(app, report, force=force)
    with tempfile.TemporaryDirectory() as scratch:
        archive = build_archive(
            folder, collect_files(folder), Path(scratch) / "environment.tar.zst"
        )
        version = (
            manifest.version if has_manifest(folder) else _next_version(app, ref, archive, manifest)
        )
        app.out.talk(
            f"Publishing {ref} {version}: {len(archive.files)} files, {archive.size} bytes"
        )
        published = app.hub.publish(ref, version, archive)
    _show(app, published, folder)


def _refuse(app: App, report: Report, *, force: bool) -> None:
    """Raise what `validate` found wrong, unless the user insists."""
    if report.ok:
        return
    if force:
        show_report(app, report)
        app.out.talk("Publishing in spite of errors.")
        return
    errors = [finding for finding in report.findings if finding.severity is Severity.ERROR]
    failure: type[FreesoloError] = EnvironmentFailed if report.code_failed else InvalidEnvironment
    raise failure(
        f"The environment is not sound: {errors[0].message}",
        problems=[Problem(error.code, error.message, error.code) for error in errors],
        hint="Mend it, or publish it all the same with --force.",
        traceback=errors[0].traceback,
    )


def _next_version(app: App, ref: EnvRef, archive: Archive, manifest: Manifest) -> str:
    """Choose a version for a folder without a manifest: the latest if unchanged, else a patch on."""
    try:
        latest = app.hub.environment(ref).versions[0]
    except EnvironmentNotFound:
        return manifest.version
    if latest.tree_digest == archive.tree_digest:
        return latest.version
    release = Version(latest.version)
    return f"{release.major}.{release.minor}.{release.micro + 1}"


def _show(app: App, published: PublishedVersion, folder: Path) -> None:
    app.out.document(published.model_dump(mode="json"))
    app.out.data(
        f"{published.ref} {published.version} {published.tree_digest} ({published.status})"
    )
    config = next(iter(sorted((folder / "configs").glob("*.toml"))), None)
    app.out.next_step(
        f"freesolo train {config}"
        if config
        else f"freesolo pull {published.ref}@{published.version}"
    )
