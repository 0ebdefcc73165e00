"""`freesolo access`: who may read an environment, publish to it, decide about it."""

import click

from freesolo.cli.context import App, confirm, json_option, pass_app, yes_option
from freesolo.domain.refs import EnvRef
from freesolo.domain.roles import EnvironmentRole, Visibility
from freesolo.errors import InvalidInput
from freesolo.schemas.access import Access

_KEYS = "ref, visibility, users[] (handle, role, since), orgs[] (org, role, since)"


@click.group()
def access() -> None:
    """Show and change who may read an environment, publish to it, decide about it."""


@access.command()
@click.argument("ref")
@json_option(_KEYS)
@pass_app
def show(app: App, ref: str) -> None:
    """Show the visibility of REF, and the roles that were given on it."""
    _show(app, app.hub.access(EnvRef.parse(ref)))


@access.command()
@click.argument("ref")
@click.argument("visibility", type=click.Choice([each.value for each in Visibility]))
@yes_option
@json_option(_KEYS)
@pass_app
def visibility(app: App, ref: str, visibility: str, *, yes: bool) -> None:
    """Let nobody else (private), every key (internal) or everybody (public) read REF."""
    environment = EnvRef.parse(ref)
    if visibility == Visibility.PUBLIC:
        confirm(
            app,
            f"Let everybody read {environment.full_name}, all its versions included? "
            "What was public cannot be taken back.",
            yes=yes,
        )
    _show(app, app.hub.set_visibility(environment, Visibility(visibility)))


@access.command()
@click.argument("ref")
@click.option("--user", metavar="HANDLE", help="The person who gets it.")
@click.option("--to-org", metavar="ORG", help="The org whose people all get it.")
@click.option(
    "--role",
    type=click.Choice([role.value for role in EnvironmentRole]),
    default=EnvironmentRole.READER.value,
    show_default=True,
    help="Read it, publish to it, or decide about it.",
)
@json_option(_KEYS)
@pass_app
def grant(app: App, ref: str, *, user: str | None, to_org: str | None, role: str) -> None:
    """Give a person or an org a role on REF, in place of the one they had on it."""
    environment, given = EnvRef.parse(ref), EnvironmentRole(role)
    if user is not None and to_org is None:
        _show(app, app.hub.grant_to_user(environment, user, given))
    elif to_org is not None and user is None:
        _show(app, app.hub.grant_to_org(environment, to_org, given))
    else:
        raise _one_grantee()


@access.command()
@click.argument("ref")
@click.option("--user", metavar="HANDLE", help="The person who had it.")
@click.option("--to-org", metavar="ORG", help="The org whose people had it.")
@json_option(_KEYS)
@pass_app
def revoke(app: App, ref: str, *, user: str | None, to_org: str | None) -> None:
    """Take back what a person or an org was given on REF."""
    environment = EnvRef.parse(ref)
    if user is not None and to_org is None:
        app.hub.revoke_from_user(environment, user)
    elif to_org is not None and user is None:
        app.hub.revoke_from_org(environment, to_org)
    else:
        raise _one_grantee()
    _show(app, app.hub.access(environment))


def _one_grantee() -> InvalidInput:
    return InvalidInput("Name either a person or an org.", hint="Pass --user or --to-org.")


def _show(app: App, found: Access) -> None:
    app.out.document(found.model_dump(mode="json"))
    app.out.data(f"{found.ref} is {found.visibility}.")
    given = [("person", user.handle, user.role, user.since) for user in found.users]
    given += [("org", org.org, org.role, org.since) for org in found.orgs]
    if given:
        app.out.table(
            ("", "who", "role", "since"),
            [(kind, who, role, f"{since:%Y-%m-%d}") for kind, who, role, since in given],
        )
