"""`freesolo pull`."""

from pathlib import Path

import click

from freesolo.cli.context import App, json_option, pass_app
from freesolo.domain.packaging import path_problem
from freesolo.domain.refs import EnvRef
from freesolo.errors import FolderNotEmpty
from freesolo.package.cache import list_files
from freesolo.package.files import copy_files


@click.command()
@click.argument("ref")
@click.argument("path", required=False)
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder to write the files to; the environment's name by default.",
)
@click.option("--force", is_flag=True, help="Write over files that are there already.")
@json_option("ref, version, tree_digest, archive_digest, size, folder, files")
@pass_app
def pull(app: App, ref: str, path: str | None, *, output: Path | None, force: bool) -> None:
    """Fetch the files of REF (org/name, org/name@1.2.0, org/name@sha256:...), or its one file PATH.

    They are verified, and those of a version that is locked here come from the cache if it has them.
    """
    parsed = EnvRef.parse(ref)
    folder = output or Path(parsed.name)
    if not force:
        _refuse_to_overwrite(folder, path)
    version = app.environments.find(parsed, Path.cwd())
    if path is None:
        source = app.environments.fetch(version)
        files = list_files(source)
        copy_files(source, files, folder)
    else:
        files = [app.environments.fetch_file(version, path, folder)]
    document = version.pinned.model_dump(mode="json")
    app.out.document({**document, "folder": str(folder), "files": files})
    app.out.data(f"{version} {version.tree}")
    app.out.data(f"{len(files)} files in {folder}" if path is None else str(folder / files[0]))
    if path is None:
        app.out.next_step(f"freesolo validate {folder}")


def _refuse_to_overwrite(folder: Path, path: str | None) -> None:
    if path is not None and path_problem(path):
        # No version has such a file. That is told, not what lies there on this machine.
        return
    target = folder if path is None else folder / path
    if target.is_dir() and any(target.iterdir()):
        raise FolderNotEmpty(
            f"{target} holds files already.",
            hint="`-o` names another folder; `--force` writes there.",
        )
    if target.is_file():
        raise FolderNotEmpty(
            f"{target} is there already.",
            hint="`-o` names another folder; `--force` writes over it.",
        )
