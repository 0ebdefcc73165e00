"""`freesolo orgs`: the organisations that own environments, runs and keys."""

import click

from freesolo.cli.context import App, json_option, pass_app
from freesolo.schemas.accounts import Usage


@click.group()
def orgs() -> None:
    """List, make and show organisations."""


@orgs.command(name="list")
@json_option("orgs[] (slug, role, created_at)")
@pass_app
def list_orgs(app: App) -> None:
    """List the orgs that your key may act in."""
    found = app.hub.orgs()
    app.out.document({"orgs": [org.model_dump(mode="json") for org in found]})
    app.out.table(
        ("org", "role", "created"),
        [(org.slug, org.role, f"{org.created_at:%Y-%m-%d}") for org in found],
    )


@orgs.command()
@click.argument("slug")
@json_option("slug, role, created_at")
@pass_app
def create(app: App, slug: str) -> None:
    """Make the org SLUG and become its owner.

    It takes a person's key for all their orgs; `python -m hub_server create-key --user` makes one.
    """
    org = app.hub.create_org(slug)
    app.out.document(org.model_dump(mode="json"))
    app.out.data(f"Made {org.slug}; you are its {org.role}.")
    app.out.next_step(f"freesolo --org {org.slug} members add HANDLE --role member")


@orgs.command()
@click.argument("slug", required=False)
@json_option(
    "slug, role, created_at, members, environments (used, allowed), storage_bytes (used, allowed)"
)
@pass_app
def show(app: App, slug: str | None) -> None:
    """Show one of your orgs, by default the one you act in: what it keeps, what it may."""
    org = app.hub.org(slug or app.hub.whoami().org)
    app.out.document(org.model_dump(mode="json"))
    app.out.fields(
        {
            "org": org.slug,
            "your role": org.role,
            "members": org.members,
            "environments": _usage(org.environments),
            "storage": f"{_usage(org.storage_bytes)} bytes",
            "created": f"{org.created_at:%Y-%m-%d}",
        }
    )


def _usage(usage: Usage) -> str:
    return str(usage.used) if usage.allowed is None else f"{usage.used} of {usage.allowed}"
