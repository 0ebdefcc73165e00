"""The hub's command for its owner: `credit`."""

import json
from datetime import UTC, datetime

import click

from freesolo.domain.prices import dollars, from_dollars
from hub_server.billing import service
from hub_server.db import create_database, create_sessions
from hub_server.settings import HubSettings


@click.command("credit", context_settings={"ignore_unknown_options": True})
@click.argument("org")
@click.argument("amount", metavar="DOLLARS")
@click.option("--note", default="", help="Why, for the record.")
@click.pass_obj
def credit(settings: HubSettings, org: str, amount: str, *, note: str) -> None:
    """Add DOLLARS, such as 12.50, to what the org ORG has left, and print that as JSON.

    An amount below zero is taken back.
    """
    engine = create_database(settings.database)
    given = from_dollars(amount)
    try:
        with create_sessions(engine).begin() as session:
            left = service.credit(session, org, given, note=note, now=datetime.now(UTC))
    finally:
        engine.dispose()
    click.echo(json.dumps({"org": org, "credited": dollars(given), "balance": dollars(left)}))
