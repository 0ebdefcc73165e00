"""`freesolo transfer`: give an environment to another org."""

import click

from freesolo.cli.context import App, confirm, json_option, pass_app, yes_option
from freesolo.domain.refs import EnvRef


@click.command()
@click.argument("ref", required=False)
@click.argument("org", required=False)
@click.option("--accept", is_flag=True, help="Take over what was offered to an org of yours.")
@click.option("--decline", is_flag=True, help="End an offer: one made to you, or one of yours.")
@click.option("--list", "listing", is_flag=True, help="List what is offered to your orgs.")
@yes_option
@json_option(
    "offered: ref, to_org, offered_by, offered_at; accepted or declined: ref; with --list "
    "transfers[]"
)
@pass_app
def transfer(  # noqa: PLR0913  one parameter for each option
    app: App,
    *,
    ref: str | None,
    org: str | None,
    accept: bool,
    decline: bool,
    listing: bool,
    yes: bool,
) -> None:
    """Offer the environment REF to ORG, whose admins may accept it.

    Once they do, it is theirs: what was granted to your people ends, and the old name leads to the
    new one for ever.
    """
    if listing:
        if ref is not None or accept or decline:
            raise click.UsageError("--list takes nothing else.")
        _list(app)
        return
    if ref is None:
        raise click.UsageError("Which environment? `--list` shows what is offered to you.")
    if [org is not None, accept, decline].count(True) != 1:
        raise click.UsageError("Give one of ORG, --accept and --decline.")
    parsed = EnvRef.parse(ref)
    if org is not None:
        _offer(app, parsed, org, yes=yes)
    elif accept:
        shown = app.hub.accept(parsed)
        app.out.document({"ref": shown.ref})
        app.out.data(f"{parsed.full_name} is {shown.ref} now.")
        app.out.next_step(f"freesolo access show {shown.ref}")
    else:
        app.hub.decline(parsed)
        app.out.document({"ref": parsed.full_name})
        app.out.data(f"{parsed.full_name} is not offered to anybody.")


def _offer(app: App, ref: EnvRef, org: str, *, yes: bool) -> None:
    confirm(app, f"Give {ref} away to {org}?", yes=yes)
    offered = app.hub.offer(ref, org)
    app.out.document(offered.model_dump(mode="json"))
    app.out.data(f"{offered.ref} is offered to {offered.to_org}.")
    app.out.next_step(f"an admin of {offered.to_org} runs `freesolo transfer {ref} --accept`")


def _list(app: App) -> None:
    page = app.hub.transfers()
    transfers = page.transfers
    while page.next_cursor is not None:
        page = app.hub.transfers(cursor=page.next_cursor)
        transfers = [*transfers, *page.transfers]
    app.out.document({"transfers": [each.model_dump(mode="json") for each in transfers]})
    app.out.table(
        ("environment", "offered to", "by", "at"),
        [
            (each.ref, each.to_org, each.offered_by, f"{each.offered_at:%Y-%m-%d %H:%M}")
            for each in transfers
        ],
    )
    if transfers:
        app.out.next_step(f"freesolo transfer {transfers[0].ref} --accept")
