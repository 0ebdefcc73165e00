"""`freesolo init`."""

from pathlib import Path

import click

from freesolo.cli.context import App, json_option, pass_app
from freesolo.errors import FolderNotEmpty, InvalidRef, TemplateNotFound
from freesolo.package.bridges.sources import find_source
from freesolo.package.templates import (
    TEMPLATES,
    Source,
    Template,
    check_new,
    find_template,
    write_environment,
)
from freesolo.runtime.sandbox import SandboxMode

_DEFAULT = TEMPLATES[0]
_WIDEST = max(len(template.name) for template in TEMPLATES)
# Of the platform that `freesolo up` starts.
_LOCAL_ORG = "local"
_LIST = "\n".join(f"  {template.name:{_WIDEST}}  {template.summary}" for template in TEMPLATES)


@click.command(epilog=f"\b\nTemplates:\n{_LIST}")
@click.argument("folder", required=False, type=click.Path(path_type=Path))
@click.option("--template", help=f"What to start from; {_DEFAULT.name} by default.")
@click.option(
    "--from",
    "origin",
    metavar="LIBRARY:NAME",
    help="Start from a task of another library instead: reasoning-gym:TASK, or verifiers:REFERENCE, a "
    "distribution, a folder or a file.",
)
@click.option("--name", help="Name of the environment; the folder's by default.")
@click.option(
    "--org", help="Org that it will be published under, for its configs; your key's by default."
)
@json_option("folder, name, org, template, from, files")
@pass_app
def init(
    app: App,
    folder: Path | None,
    *,
    template: str | None,
    origin: str | None,
    name: str | None,
    org: str | None,
) -> None:
    """Make FOLDER: an environment that works, to change into your own.

    On a terminal, FOLDER and the template are asked for unless they are given.
    """
    if template and origin:
        raise click.UsageError("An environment starts from --template or --from, not from both.")
    folder = folder or _ask_folder(app, name)
    source = _source(app, template, origin)
    name = name or folder.resolve().name
    org = org or _org_in_use(app)
    files = write_environment(source, folder, name=name, org=org)
    app.out.document(
        {
            "folder": str(folder),
            "name": name,
            "org": org,
            "template": source.name if isinstance(source, Template) else None,
            "from": origin,
            "files": files,
        }
    )
    for file in files:
        app.out.data(str(folder / file))
    app.out.talk(f"Made {org}/{name} from {source.title}.")
    app.out.next_step(f"freesolo validate {folder}")


def _source(app: App, template: str | None, origin: str | None) -> Source:
    if origin:
        app.out.talk(f"Looking for {origin} ...")
        return find_source(origin, app.host_options(SandboxMode.AUTO))
    return find_template(template) if template else _ask_template(app)


def _ask_folder(app: App, name: str | None) -> Path:
    if not app.out.interactive:
        raise click.MissingParameter(param_hint="FOLDER", param_type="argument")

    def read(text: str) -> Path:
        folder = Path(text.strip()).expanduser()
        try:
            check_new(folder, name or folder.resolve().name)
        except (InvalidRef, FolderNotEmpty) as error:
            raise click.BadParameter(f"{error.message} {error.hint}") from None
        return folder

    chosen: Path = click.prompt(
        "Folder of the new environment", default="my-task", value_proc=read, err=True
    )
    return chosen


def _ask_template(app: App) -> Template:
    if not app.out.interactive:
        return _DEFAULT
    for number, template in enumerate(TEMPLATES, start=1):
        app.out.talk(f"{number}  {template.name:{_WIDEST}}  {template.summary}")
    chosen: Template = click.prompt(
        "Template, by number or name", default="1", value_proc=_read_choice, err=True
    )
    return chosen


def _read_choice(text: str) -> Template:
    """Return the template that was meant; what is wrong with a choice is shown before the next."""
    if text.isdecimal() and 1 <= int(text) <= len(TEMPLATES):
        return TEMPLATES[int(text) - 1]
    try:
        return find_template(text.strip())
    except TemplateNotFound as error:
        raise click.BadParameter(f"{error.message} {error.hint}") from None


def _org_in_use(app: App) -> str:
    """Return the org that a publish would use, as far as it is known without asking the hub."""
    profile = app.credentials.active()
    return app.settings.org or (profile and profile.org) or _LOCAL_ORG
