"""`freesolo publish`."""

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass
from pathlib import Path

import click
from packaging.version import Version

from freesolo.cli.context import (
    App,
    call_seconds_option,
    json_option,
    pass_app,
    sandbox_option,
)
from freesolo.cli.validate import check, show_report
from freesolo.domain.packaging import ENVIRONMENT_LIMITS
from freesolo.domain.refs import EnvRef, check_name
from freesolo.domain.selection import newest_first
from freesolo.domain.versions import Bump, next_version
from freesolo.errors import (
    EnvironmentFailed,
    EnvironmentNotFound,
    FreesoloError,
    InvalidEnvironment,
    Problem,
    VersionExists,
    VersionTombstoned,
)
from freesolo.package.archive import Archive, build_archive, check_archive_size
from freesolo.package.checks import Report, Severity
from freesolo.package.files import (
    FileSelection,
    copy_files,
    has_manifest,
    load_manifest,
    select_files,
    write_version,
)
from freesolo.package.report import checks_of
from freesolo.package.secrets import Secret, refuse_secrets, scan_files
from freesolo.schemas.checks import CheckReport
from freesolo.schemas.environments import EnvironmentDetail, PublishedVersion, VersionSummary


@dataclass(frozen=True)
class _Plan:
    """What a publish would send, and what the hub has, or had, under its version."""

    ref: EnvRef
    version: str
    archive: Archive
    selection: FileSelection
    existing: VersionSummary | None
    was_deleted: bool

    @property
    def status(self) -> str:
        """How the hub would answer."""
        if self.existing is None:
            return "conflict" if self.was_deleted else "created"
        same = self.existing.tree_digest == self.archive.tree_digest
        return "unchanged" if same else "conflict"


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--org", help="Organisation to publish under; the key's by default.")
@click.option("--name", help="Name, for a folder without a manifest.")
@click.option(
    "--bump",
    type=click.Choice([part.value for part in Bump]),
    help="Take the version after the newest published one, and write it into the manifest.",
)
@click.option("--stage", is_flag=True, help="Show the version to writers only, until `promote`.")
@click.option("--dry-run", is_flag=True, help="Make every check and show what would be sent.")
@click.option("--force", is_flag=True, help="Publish in spite of errors that `validate` finds.")
@call_seconds_option
@sandbox_option
@json_option(
    "ref, version, tree_digest, archive_digest, size, status, state, published_at; with --dry-run "
    "ref, version, status, tree_digest, size, tree_size, files[], left_out[], secrets[]"
)
@pass_app
def publish(  # noqa: PLR0913 - one parameter for each option
    app: App,
    folder: Path,
    *,
    org: str | None,
    name: str | None,
    bump: str | None,
    stage: bool,
    dry_run: bool,
    force: bool,
    sandbox: str,
    call_seconds: float,
) -> None:
    """Publish the environment in FOLDER as an immutable version."""
    manifest = load_manifest(folder, name=name)
    # Asked first: without a key or a hub the checks would be for nothing.
    ref = EnvRef(org=check_name(org or app.hub.whoami().org, "org"), name=manifest.name)
    selection = select_files(folder)
    secrets = list(scan_files(folder, selection.paths))
    if not dry_run:
        refuse_secrets(secrets)
    app.out.talk(f"Checking {folder} ...")
    options = app.host_options(sandbox, call_seconds=call_seconds)
    report = check(app, folder, options=options, name=name)
    if not dry_run:
        _refuse(app, report, force=force)
    asked = bump or dry_run or not has_manifest(folder)
    versions = _Versions(
        declared=manifest.version,
        has_manifest=has_manifest(folder),
        bump=Bump(bump) if bump else None,
        found=_find(app, ref) if asked else None,
    )
    with tempfile.TemporaryDirectory() as scratch:
        archive = _pack(folder, selection, versions, Path(scratch))
        version = versions.of(archive)
        if not dry_run:
            checks = checks_of(report, forced=not report.ok)
            published = _send(app, ref, version, archive, checks, stage=stage)
            if versions.rewrites_manifest:
                write_version(folder, version)
            _show(app, published, folder)
            return
    plan = _Plan(
        ref,
        version,
        archive,
        selection,
        existing=versions.published_as(version),
        was_deleted=versions.was_deleted(version),
    )
    _show_plan(app, plan, secrets)
    refuse_secrets(secrets)
    _refuse(app, report, force=force)
    check_archive_size(archive.size, ENVIRONMENT_LIMITS)
    _refuse_conflict(plan, folder)
    app.out.next_step("the same command without --dry-run")


@dataclass(frozen=True)
class _Versions:
    """How the version is found: the one that the folder declares, or the next in a history.

    `found` is the environment as it is published; it is None if it is not, or does not matter.
    """

    declared: str
    has_manifest: bool
    bump: Bump | None
    found: EnvironmentDetail | None

    @property
    def rewrites_manifest(self) -> bool:
        """Whether the manifest is to say another version than it did."""
        return self.has_manifest and self.bump is not None

    @property
    def next(self) -> str:
        """The version, as far as it does not depend on the files."""
        return self._after_newest(self.bump) if self.bump else self.declared

    def of(self, archive: Archive) -> str:
        """Return the version that an archive takes: without a manifest, the newest or a patch on."""
        if self.has_manifest or self.bump:
            return self.next
        newest = next(iter(self.found.versions), None) if self.found else None
        if newest and newest.tree_digest == archive.tree_digest:
            return newest.version
        return self._after_newest(Bump.PATCH)

    def published_as(self, version: str) -> VersionSummary | None:
        """Return what is published under a version already."""
        published = self.found.versions if self.found else []
        return next((v for v in published if Version(v.version) == Version(version)), None)

    def was_deleted(self, version: str) -> bool:
        """Say whether a version was deleted: its number is never given again."""
        deleted = self.found.deleted if self.found else []
        return Version(version) in map(Version, deleted)

    def _after_newest(self, bump: Bump) -> str:
        """Return the version after the newest there ever was; the declared one if there is none."""
        if self.found is None:
            return self.declared
        taken = [*(each.version for each in self.found.versions), *self.found.deleted]
        return next_version(newest_first(taken)[0], bump) if taken else self.declared


def _find(app: App, ref: EnvRef) -> EnvironmentDetail | None:
    try:
        return app.hub.environment(ref)
    except EnvironmentNotFound:
        return None


def _pack(folder: Path, selection: FileSelection, versions: _Versions, scratch: Path) -> Archive:
    """Pack the selected files. The author's own manifest is left alone until it is published."""
    paths = selection.paths
    if versions.rewrites_manifest:
        copy_files(folder, paths, scratch / "files")
        folder = scratch / "files"
        write_version(folder, versions.next)
    return build_archive(folder, paths, scratch / "environment.tar.zst")


def _send(
    app: App, ref: EnvRef, version: str, archive: Archive, checks: CheckReport, *, stage: bool
) -> PublishedVersion:
    app.out.talk(f"Publishing {ref} {version}: {len(archive.files)} files, {archive.size} bytes")
    with app.out.progress("Uploading", archive.size, of_bytes=True) as bar:
        return app.hub.publish(
            ref,
            version,
            archive,
            stage=stage,
            checks=checks,
            sent=lambda offset: bar.show(offset, archive.size),
        )


def _refuse(app: App, report: Report, *, force: bool) -> None:
    """Raise what `validate` found wrong, unless the user insists; tell what else was found."""
    if report.ok:
        for finding in report.of(Severity.WARNING):
            app.out.talk(f"Warning, {finding.code}: {finding.message}")
        return
    if force:
        show_report(app, report)
        app.out.talk("Publishing in spite of errors.")
        return
    errors = list(report.of(Severity.ERROR))
    failure: type[FreesoloError] = EnvironmentFailed if report.code_failed else InvalidEnvironment
    raise failure(
        f"The environment is not sound: {errors[0].message}",
        problems=[Problem(error.code, error.message, error.code) for error in errors],
        hint="Mend it, or publish it all the same with --force.",
        traceback=errors[0].traceback,
    )


def _refuse_conflict(plan: _Plan, folder: Path) -> None:
    """Raise what the hub would, if the version is taken."""
    if plan.status != "conflict":
        return
    if plan.existing is None:
        raise VersionTombstoned(
            f"{plan.ref} {plan.version} was deleted, and its number with it.",
            hint="The number of a deleted version is never given again: raise `version`, or use "
            "`--bump patch`.",
        )
    published = f"{plan.ref}@{plan.existing.version}"
    raise VersionExists(
        f"{plan.ref} {plan.existing.version} is already published as "
        f"{plan.existing.tree_digest}; what would be sent is {plan.archive.tree_digest}.",
        hint="Published versions never change: raise `version`, or use `--bump patch`. "
        f"`freesolo diff {published} {folder}` shows what changed.",
    )


def _show_plan(app: App, plan: _Plan, secrets: Sequence[Secret]) -> None:
    archive, selection = plan.archive, plan.selection
    app.out.document(
        {
            "ref": str(plan.ref),
            "version": plan.version,
            "status": plan.status,
            "tree_digest": archive.tree_digest,
            "size": archive.size,
            "tree_size": selection.size,
            "files": [asdict(file) for file in selection.packed],
            "left_out": [asdict(item) for item in selection.left_out],
            "secrets": [asdict(secret) for secret in secrets],
        }
    )
    app.out.table(["goes in", "bytes"], [(file.path, file.size) for file in selection.packed])
    if selection.left_out:
        app.out.data()
        app.out.table(["stays out", "by"], [(item.path, item.rule) for item in selection.left_out])
    if secrets:
        app.out.data()
        app.out.table(["secret in", "line", "kind"], [astuple(secret) for secret in secrets])
    app.out.data()
    app.out.fields(
        {
            "version": f"{plan.ref} {plan.version} ({plan.status})",
            "tree": f"{archive.tree_digest}, {len(archive.files)} files, {selection.size} bytes",
            "archive": f"{archive.size} bytes",
        }
    )


def _show(app: App, published: PublishedVersion, folder: Path) -> None:
    app.out.document(published.model_dump(mode="json"))
    app.out.data(
        f"{published.ref} {published.version} {published.tree_digest} ({published.status})"
    )
    if published.state == "staged":
        app.out.next_step(f"freesolo promote {published.ref}@{published.version}")
        return
    config = _first_config(folder)
    app.out.next_step(
        f"freesolo train {config}"
        if config
        else f"freesolo pull {published.ref}@{published.version}"
    )


def _first_config(folder: Path) -> Path | None:
    """Return the config to train with first: practice pays once imitation has shown how."""
    configs = sorted((folder / "configs").glob("*.toml"))
    return min(configs, key=lambda config: config.name != "sft.toml", default=None)
