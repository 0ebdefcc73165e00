"""`freesolo pull`, and how other commands get at a published environment's files."""

import shutil
from pathlib import Path

import click

from freesolo.cli.context import App, json_option, pass_app
from freesolo.domain.refs import EnvRef
from freesolo.errors import FolderNotEmpty
from freesolo.package.cache import cached_environment
from freesolo.schemas.environments import ResolvedVersion


@click.command()
@click.argument("ref")
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder to write the files to; the environment's name by default.",
)
@click.option("--force", is_flag=True, help="Write into a folder that holds files already.")
@json_option("ref, version, tree_digest, archive_digest, size, folder, files")
@pass_app
def pull(app: App, ref: str, *, output: Path | None, force: bool) -> None:
    """Fetch the files of REF (org/name, org/name@1.2.0, org/name@sha256:...), verified."""
    parsed = EnvRef.parse(ref)
    folder = output or Path(parsed.name)
    if not force and folder.exists() and any(folder.iterdir()):
        raise FolderNotEmpty(
            f"{folder} holds files already.",
            hint="`-o` names another folder; `--force` writes there.",
        )
    version = app.hub.resolve(parsed)
    files = _write_files(cached(app, version), folder)
    app.out.document({**version.model_dump(mode="json"), "folder": str(folder), "files": files})
    app.out.data(f"{version.ref} {version.version} {version.tree_digest}")
    app.out.data(f"{len(files)} files in {folder}")
    app.out.next_step(f"freesolo validate {folder}")


def cached(app: App, version: ResolvedVersion) -> Path:
    """Return the unpacked files of a version in the cache, fetching them if they are not there."""
    return cached_environment(
        version, app.settings.cache, download=lambda archive: app.hub.download(version, archive)
    )


def _write_files(source: Path, folder: Path) -> list[str]:
    files = sorted(path.relative_to(source) for path in source.rglob("*") if path.is_file())
    for path in files:
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source / path, target)
    return [path.as_posix() for path in files]
