"""`freesolo members`: the people of an org."""

import click

from freesolo.cli.context import App, confirm, json_option, pass_app, yes_option
from freesolo.domain.roles import Role

_ROLES = click.Choice([role.value for role in Role])


@click.group()
def members() -> None:
    """List the people of the org, let them in, change their role, take them out."""


@members.command(name="list")
@json_option("members[] (handle, role, since)")
@pass_app
def list_members(app: App) -> None:
    """List who belongs to the org, and as what."""
    found = app.hub.members()
    app.out.document({"members": [member.model_dump(mode="json") for member in found]})
    app.out.table(
        ("handle", "role", "since"),
        [(member.handle, member.role, f"{member.since:%Y-%m-%d}") for member in found],
    )


@members.command()
@click.argument("handle")
@click.option("--role", type=_ROLES, default=Role.MEMBER.value, show_default=True)
@json_option("handle, role, since")
@pass_app
def add(app: App, handle: str, *, role: str) -> None:
    """Let the person HANDLE into the org."""
    member = app.hub.add_member(handle, Role(role))
    app.out.document(member.model_dump(mode="json"))
    app.out.data(f"{member.handle} is {member.role}.")
    app.out.next_step(f"freesolo keys create {member.handle}-laptop --user {member.handle}")


@members.command()
@click.argument("handle")
@click.argument("role", type=_ROLES)
@json_option("handle, role, since")
@pass_app
def set_role(app: App, handle: str, role: str) -> None:
    """Make the person HANDLE a ROLE of the org."""
    member = app.hub.set_role(handle, Role(role))
    app.out.document(member.model_dump(mode="json"))
    app.out.data(f"{member.handle} is {member.role}.")
    app.out.next_step("freesolo members list")


@members.command()
@click.argument("handle")
@yes_option
@json_option("handle")
@pass_app
def remove(app: App, handle: str, *, yes: bool) -> None:
    """Take the person HANDLE out of the org; their keys to it stop working at once."""
    confirm(app, f"Take {handle} out of the org, and revoke their keys to it?", yes=yes)
    app.hub.remove_member(handle)
    app.out.document({"handle": handle})
    app.out.data(f"{handle} is out.")
    app.out.next_step("freesolo members list")
