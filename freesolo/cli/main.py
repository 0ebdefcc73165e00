"""The `freesolo` command: its groups, and the one place where errors become exit codes."""

import errno
import sys
import traceback
from collections.abc import Sequence

import click
from pydantic import ValidationError

from freesolo import __version__
from freesolo.cli.access import access
from freesolo.cli.archive import archive, unarchive
from freesolo.cli.audit import audit
from freesolo.cli.auth import login, logout, whoami
from freesolo.cli.cache import cache
from freesolo.cli.changes import changes
from freesolo.cli.chat import chat
from freesolo.cli.context import App
from freesolo.cli.delete import delete, restore
from freesolo.cli.deploy import deploy, deployments, rollback, undeploy
from freesolo.cli.deprecate import deprecate
from freesolo.cli.diff import diff
from freesolo.cli.doctor import doctor
from freesolo.cli.evaluate import evaluate
from freesolo.cli.export import export
from freesolo.cli.hub import hub
from freesolo.cli.info import info, versions
from freesolo.cli.init import init
from freesolo.cli.install import add, install, remove
from freesolo.cli.keys import keys
from freesolo.cli.lock import lock, outdated, update
from freesolo.cli.members import members
from freesolo.cli.models import models
from freesolo.cli.orgs import orgs
from freesolo.cli.projects import projects
from freesolo.cli.promote import promote
from freesolo.cli.publish import publish
from freesolo.cli.pull import pull
from freesolo.cli.receipt import receipt
from freesolo.cli.rename import rename
from freesolo.cli.results import results
from freesolo.cli.runs import runs
from freesolo.cli.search import search
from freesolo.cli.secrets import secrets
from freesolo.cli.tag import tag
from freesolo.cli.train import train
from freesolo.cli.transfer import transfer
from freesolo.cli.tree import tree
from freesolo.cli.up import down, up
from freesolo.cli.usage import usage
from freesolo.cli.uses import uses
from freesolo.cli.validate import validate
from freesolo.cli.webhooks import webhooks
from freesolo.cli.yank import unyank, yank
from freesolo.config import ClientSettings
from freesolo.domain.problems import problems_from_validation
from freesolo.errors import FreesoloError, Internal, InvalidInput, StorageFull
from freesolo.schemas.base import Wire

# What click puts before and between the two columns of a list.
_INDENT = 4
# As `freesolo --help` shows them.
_SECTIONS: dict[str, tuple[click.Command, ...]] = {
    "The platform": (up, down, doctor, hub, login, logout, whoami),
    "Make an environment": (init, validate, publish, promote, diff),
    "Find and use environments": (
        *(search, info, versions, pull, install, add, remove, lock, update, outdated, tree),
        cache,
    ),
    "Train and serve": (
        *(secrets, train, runs, models),
        *(deploy, deployments, rollback, undeploy, export, chat, usage, evaluate, results),
    ),
    "Look after what is published": (
        *(tag, yank, unyank, deprecate, archive, unarchive, delete, restore, rename, transfer),
        *(uses, changes, receipt, webhooks),
    ),
    "Who may do what": (access, orgs, members, keys, projects, audit),
}


class _Sections(click.Group):
    """A group whose help shows the commands by what they are for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [str(command.name) for commands in _SECTIONS.values() for command in commands]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        widest = max(len(name) for name in self.list_commands(ctx))
        room = formatter.width - widest - _INDENT
        for title, commands in _SECTIONS.items():
            rows = [
                (f"{command.name:{widest}}", command.get_short_help_str(room))
                for command in commands
            ]
            with formatter.section(title):
                formatter.write_dl(rows)


@click.group(
    cls=_Sections,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="freesolo")
@click.option("--org", help="Org to act in, for a key that has several.", metavar="ORG")
@click.pass_obj
def cli(app: App, org: str | None) -> None:
    """Describe a task, train an adapter on it, serve it."""
    if org is not None:
        app.settings = app.settings.model_copy(update={"org": org})


for _commands in _SECTIONS.values():
    for _command in _commands:
        cli.add_command(_command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave with its exit code."""
    sys.exit(run(list(sys.argv[1:] if arguments is None else arguments)))


def run(arguments: list[str]) -> int:
    """Run one command and return its exit code."""
    app = App(ClientSettings())
    # An error in the options themselves comes before `--json` is read.
    app.out.json_mode = "--json" in arguments
    try:
        return int(cli.main(arguments, prog_name="freesolo", obj=app, standalone_mode=False) or 0)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return error.exit_code
    except click.UsageError as error:
        return _fail(app, _usage_error(error))
    except click.Abort:
        app.out.talk("Stopped.")
        return 130
    except SystemExit:
        # click's way out when whoever read our output has enough of it.
        return 141
    except FreesoloError as error:
        return _fail(app, error)
    except ValidationError as error:
        return _fail(app, _no_request(error))
    except OSError as error:
        return _fail(app, _os_error(error))
    except Exception:  # noqa: BLE001 - the last resort: our fault, told with its traceback
        return _fail(app, _our_fault())
    finally:
        app.close()


def _fail(app: App, error: FreesoloError) -> int:
    app.out.error(error)
    return error.exit_code


def _usage_error(error: click.UsageError) -> FreesoloError:
    path = error.ctx.command_path if error.ctx else "freesolo"
    return InvalidInput(error.format_message(), hint=f"`{path} --help` shows how to call it.")


def _no_request(error: ValidationError) -> FreesoloError:
    """Tell of what was typed, and that no hub would take."""
    problems = problems_from_validation(error, Wire)
    return InvalidInput(f"{problems[0].path}: {problems[0].message}", problems=problems)


def _os_error(error: OSError) -> FreesoloError:
    if error.errno == errno.ENOSPC:
        return StorageFull(
            f"The disk is full: {error.filename or 'a file'} could not be written.",
            hint="Free some space and run the command again.",
        )
    if error.filename is not None:
        return InvalidInput(f"{error.filename}: {error.strerror}.")
    return _our_fault()


def _our_fault() -> FreesoloError:
    return Internal(
        "This is a fault in freesolo, not in what you typed.",
        hint="Please report it with the lines above.",
        traceback=traceback.format_exc(),
    )
