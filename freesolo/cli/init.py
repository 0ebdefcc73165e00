"""`freesolo init`."""

from pathlib import Path

import click

from freesolo.cli.context import App, json_option, pass_app
from freesolo.package.templates import list_templates, write_template


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--template", default="single-turn", show_default=True, help="What to start from.")
@click.option("--name", help="Name of the environment; the folder's by default.")
@json_option("folder, name, template, files")
@pass_app
def init(app: App, folder: Path, *, template: str, name: str | None) -> None:
    """Make FOLDER: an environment that works, to change into your own."""
    name = name or folder.resolve().name
    files = write_template(template, folder, name=name)
    app.out.document(
        {"folder": str(folder), "name": name, "template": template, "files": sorted(files)}
    )
    for file in sorted(files):
        app.out.data(str(folder / file))
    others = ", ".join(item for item in list_templates() if item != template)
    app.out.talk(f"Made from the template {template}." + (f" Others: {others}." if others else ""))
    app.out.next_step(f"freesolo validate {folder}")
