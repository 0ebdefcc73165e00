"""`freesolo usage`: the tokens of an org, what they cost, and what it has left."""

import csv
import io
from collections.abc import Sequence
from datetime import date, datetime

import click

from freesolo.cli.context import App, json_option, pass_app
from freesolo.domain.prices import dollars
from freesolo.schemas.usage import BillingMode, UsageBy, UsageLine

_COLUMNS = {
    UsageBy.KEY: ("key_id", "key_name", "key_prefix"),
    UsageBy.MODEL: ("model",),
    UsageBy.DAY: ("day",),
}
_TITLES = {"key_name": "key", "key_prefix": "begins"}
_TOKENS = ("prompt_tokens", "cached_tokens", "completion_tokens", "reasoning_tokens")


@click.command()
@click.option(
    "--by",
    type=click.Choice([by.value for by in UsageBy]),
    multiple=True,
    default=[UsageBy.KEY.value, UsageBy.MODEL.value],
    show_default=True,
    help="Sum up by this; repeatable.",
)
@click.option("--since", type=click.DateTime(["%Y-%m-%d"]), help="The first day, in UTC.")
@click.option("--until", type=click.DateTime(["%Y-%m-%d"]), help="The last day, in UTC.")
@click.option("--csv", "as_csv", is_flag=True, help="Print comma-separated values.")
@json_option(
    "mode, balance, held, usage[] (key_id, key_name, key_prefix, model, day, requests, "
    "prompt_tokens, cached_tokens, completion_tokens, reasoning_tokens, amount); amounts are pico-dollars"
)
@pass_app
def usage(
    app: App,
    *,
    by: Sequence[str],
    since: datetime | None,
    until: datetime | None,
    as_csv: bool,
) -> None:
    """Show the tokens that the org used, what they cost, and what it has left."""
    if as_csv and app.out.json_mode:
        raise click.UsageError("The answer is either --csv or --json, not both.")
    wanted = [UsageBy(each) for each in by]
    lines = app.hub.usage(by=wanted, since=_day(since), until=_day(until)).usage
    names = [name for each in wanted for name in _COLUMNS[each]]
    if as_csv:
        app.out.data(_csv(names, lines), end="")
        return
    # An id tells people nothing that the beginning of the key does not.
    names = [name for name in names if name != "key_id"]
    balance = app.hub.balance()
    app.out.document(
        {
            **balance.model_dump(mode="json"),
            "usage": [line.model_dump(mode="json") for line in lines],
        }
    )
    app.out.table(
        (
            *(_TITLES.get(name, name) for name in names),
            "requests",
            "prompt",
            "cached",
            "answer",
            "$",
        ),
        [
            (
                *(getattr(line, name) for name in names),
                line.requests,
                line.prompt_tokens,
                line.cached_tokens,
                line.completion_tokens,
                dollars(line.amount),
            )
            for line in lines
        ],
    )
    if balance.mode is BillingMode.PREPAID:
        app.out.talk(
            f"${dollars(balance.balance)} left, ${dollars(balance.held)} of it held for requests "
            "under way."
        )


def _day(moment: datetime | None) -> date | None:
    return moment and moment.date()


def _csv(names: Sequence[str], lines: Sequence[UsageLine]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = (*names, "requests", *_TOKENS)
    writer.writerow((*columns, "dollars"))
    for line in lines:
        values = [_cell(getattr(line, name)) for name in columns]
        writer.writerow((*values, dollars(line.amount)))
    return text.getvalue()


def _cell(value: object) -> object:
    # Spreadsheets run what begins like a formula; names of keys are anybody's.
    return f"'{value}" if isinstance(value, str) and value[:1] in "=+-@\t\r" else value
