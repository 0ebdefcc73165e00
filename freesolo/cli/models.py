"""`freesolo models`: the base models that can be trained and served."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TypeVar

import click
from pydantic import ValidationError

from freesolo.base_models.inspection import folder_revision, inspect_folder, inspect_repository
from freesolo.cli.context import App, confirm, json_option, pass_app, yes_option
from freesolo.domain.catalog import (
    REPO_PATTERN,
    Algorithm,
    BaseModelEntry,
    HubSource,
    LocalSource,
    PackagedGGUFSource,
    Source,
)
from freesolo.domain.conformance import Inspection, Verdict
from freesolo.domain.problems import problems_from_validation
from freesolo.errors import InvalidBaseModel, InvalidInput, Problem
from freesolo.schemas.base_models import Model

_Command = TypeVar("_Command", bound=Callable[..., object])

# Prices are pico-dollars a token: a million of them cost as many micro-dollars.
_PICO_PER_TOKEN = 1_000_000
_MODEL = (
    "id, revision, source (kind, ...), parameters, context, max_rank, algorithms, thinking, "
    "reasoning_parser, tool_parser, template "
    "(append_only, append_only_thinking, opens_thinking, warnings[]), price_input, price_output, "
    "price_train (pico-dollars a token)"
)
_CHECKS = "checks[] (name, verdict: ok, warning or error, message, hint)"
_STYLES = {Verdict.OK: "dim", Verdict.WARNING: "yellow", Verdict.ERROR: "bold red"}


def _price_option(name: str, what: str) -> Callable[[_Command], _Command]:
    """Add an option for a price in dollars; the command gets pico-dollars a token."""
    return click.option(
        name,
        default="0",
        metavar="DOLLARS",
        callback=_pico_dollars,
        help=f"Price of a million tokens of {what}; 0 by default.",
    )


def _pico_dollars(context: click.Context, parameter: click.Parameter, text: str) -> int:
    try:
        pico = Decimal(text) * _PICO_PER_TOKEN
    except ArithmeticError:
        raise click.BadParameter(f"{text!r} is no amount of dollars.", context, parameter) from None
    if not pico.is_finite() or pico < 0 or pico != int(pico):
        raise click.BadParameter(
            f"{text!r} is no price: it is 0 or more, with 6 decimals at most.", context, parameter
        )
    return int(pico)


@dataclass(frozen=True)
class _Found:
    """A model that was looked at: where it is, what its revision is, what the checks say."""

    default_id: str
    source: HubSource | LocalSource
    revision: str
    inspection: Inspection


@click.group(invoke_without_command=True)
@json_option(f"models[] ({_MODEL}, added: by this org)")
@click.pass_context
def models(context: click.Context) -> None:
    """List the base models that can be trained and served; add one, remove one."""
    if context.invoked_subcommand is None:
        _list(context.ensure_object(App))


@models.command()
@click.argument("model")
@click.option(
    "--revision",
    help="Branch, tag or commit on the Hugging Face hub, `main` by default; the commit that it means "
    "now is kept.",
)
@click.option("--id", "model_id", metavar="ID", help="What configs call it, such as acme/small.")
@click.option(
    "--context",
    "tokens",
    type=click.IntRange(min=1),
    metavar="TOKENS",
    help="Most tokens of prompt and answer together; by default what its config says.",
)
@click.option(
    "--max-rank",
    type=click.IntRange(1, 512),
    default=64,
    show_default=True,
    help="Highest rank of an adapter on it; an engine keeps room for it.",
)
@click.option(
    "--reasoning-parser",
    metavar="NAME",
    help="vLLM's parser of its thinking, such as qwen3; without one, thinking is part of answers.",
)
@click.option(
    "--tool-parser",
    metavar="NAME",
    help="vLLM's parser of its calls of tools, such as hermes; without one, tools are refused.",
)
@_price_option("--price-input", "prompts")
@_price_option("--price-output", "answers")
@_price_option("--price-train", "training")
@click.option("--dry-run", is_flag=True, help="Make every check, and stop there.")
@json_option(f"ok, {_CHECKS}, model ({_MODEL}; null if there are errors)")
@pass_app
def add(  # noqa: PLR0913 - one parameter for each option
    app: App,
    model: str,
    *,
    revision: str | None,
    model_id: str | None,
    tokens: int | None,
    max_rank: int,
    reasoning_parser: str | None,
    tool_parser: str | None,
    price_input: int,
    price_output: int,
    price_train: int,
    dry_run: bool,
) -> None:
    """Check MODEL and add it to the org's catalog: a folder, or an id on the Hugging Face hub.

    Its chat template is tried on its own tokenizer: what breaks a rule is refused, what is unusual
    is kept with the entry. A folder must be at the same path on every machine that trains or serves.
    """
    found = _look_at(app, model, revision)
    _show_checks(app, found.inspection)
    entry = (
        None
        if found.inspection.errors
        else _entry(
            found,
            {
                "id": model_id or found.default_id,
                "context": tokens or found.inspection.context,
                "max_rank": max_rank,
                "reasoning_parser": reasoning_parser,
                "tool_parser": tool_parser,
                "price_input": price_input,
                "price_output": price_output,
                "price_train": price_train,
            },
        )
    )
    if entry and not dry_run:
        app.hub.add_model(entry)
    app.out.document(
        {
            "ok": entry is not None,
            "checks": [check.model_dump(mode="json") for check in found.inspection.checks],
            "model": entry and entry.model_dump(mode="json"),
        }
    )
    if entry is None:
        raise _refusal(model, found.inspection)
    _show_entry(app, entry, dry_run=dry_run)


@models.command()
@click.argument("model")
@yes_option
@json_option("id")
@pass_app
def rm(app: App, model: str, *, yes: bool) -> None:
    """Take a base model that the org has added out of its catalog.

    Adapters on it stay, but cannot be deployed until it is back.
    """
    confirm(app, f"Remove {model} from the catalog?", yes=yes)
    app.hub.remove_model(model)
    app.out.document({"id": model})
    app.out.data(f"Removed {model}.")


def _list(app: App) -> None:
    found = app.hub.models()
    app.out.document({"models": [model.model_dump(mode="json") for model in found]})
    app.out.table(
        (
            "model",
            "source",
            "parameters",
            "context",
            "max rank",
            "thinking",
            "algorithms",
            "in $/M",
            "out $/M",
            "train $/M",
        ),
        [_row(model) for model in found],
    )


def _row(model: Model) -> tuple[object, ...]:
    return (
        model.id,
        _place(model.source, model.revision),
        _size(model.parameters),
        model.context,
        model.max_rank,
        "yes" if model.thinking else "no",
        ", ".join(model.algorithms),
        *(
            f"{price / _PICO_PER_TOKEN:.4f}"
            for price in (model.price_input, model.price_output, model.price_train)
        ),
    )


def _look_at(app: App, model: str, revision: str | None) -> _Found:
    """Inspect a folder if there is one, else a repository."""
    folder = Path(model).expanduser()
    if folder.is_dir():
        if revision is not None:
            raise InvalidInput(
                f"{model} is a folder, whose revision is the digest of its files.",
                hint="Leave --revision out.",
            )
        app.out.talk(f"Checking {folder} ...")
        folder = folder.resolve()
        found = inspect_folder(folder)
        digest = "" if found.errors else folder_revision(folder)
        name = f"{app.hub.whoami().org}/{folder.name}"
        return _Found(name, LocalSource(path=str(folder)), digest, found)
    if not re.fullmatch(REPO_PATTERN, model):
        raise InvalidInput(
            f"{model!r} is neither a folder here nor an id on the Hugging Face hub.",
            hint="A folder holds config.json; an id has two parts, such as Qwen/Qwen3-0.6B.",
        )
    app.out.talk(f"Looking at {model} on the Hugging Face hub ...")
    commit, found = inspect_repository(model, revision or "main")
    return _Found(model, HubSource(repo=model), commit, found)


def _entry(found: _Found, chosen: Mapping[str, object]) -> BaseModelEntry:
    """Return the catalog entry that the checks and the options make together."""
    inspection = found.inspection
    if chosen["context"] is None:
        raise InvalidInput(
            "The model's config does not say how many tokens it can read.",
            hint="Say it with --context.",
        )
    # SFT has to tell an answer from the prompt before it.
    algorithms = [
        each for each in Algorithm if each is not Algorithm.SFT or inspection.answers_extend_prompts
    ]
    try:
        return BaseModelEntry.model_validate(
            {
                **chosen,
                "revision": found.revision,
                "source": found.source,
                "parameters": inspection.parameters,
                "shape": inspection.shape,
                "algorithms": algorithms,
                "thinking": inspection.thinking,
                "template": inspection.template,
            }
        )
    except ValidationError as error:
        problems = problems_from_validation(error, BaseModelEntry)
        raise InvalidInput(
            f"{problems[0].path}: {problems[0].message}",
            hint="`freesolo models add --help` tells what the options take.",
            problems=problems,
        ) from None


def _refusal(model: str, inspection: Inspection) -> InvalidBaseModel:
    first = inspection.errors[0]
    return InvalidBaseModel(
        f"{model} cannot join the catalog: {first.message}",
        hint=first.hint,
        problems=[Problem(check.name, check.message) for check in inspection.errors],
    )


def _show_checks(app: App, inspection: Inspection) -> None:
    for check in inspection.checks:
        app.out.data(
            f"{check.verdict.value:<8}{check.name:<18}{check.message}", style=_STYLES[check.verdict]
        )
        if check.hint:
            app.out.data(f"{'':26}{check.hint}")


def _show_entry(app: App, entry: BaseModelEntry, *, dry_run: bool) -> None:
    app.out.data()
    app.out.fields(
        {
            "model": entry.id,
            "revision": entry.revision,
            "parameters": _size(entry.parameters),
            "context": entry.context,
            "thinking": "yes" if entry.thinking else "no",
            "tools": entry.tool_parser or "refused",
            "algorithms": ", ".join(entry.algorithms),
        }
    )
    if dry_run:
        app.out.talk("The model is good. Nothing was added.")
        return
    if isinstance(entry.source, LocalSource):
        app.out.talk(
            f"Every machine that trains or serves reads it from {entry.source.path}; put it there."
        )
    app.out.next_step(f"freesolo train CONFIG --set model={entry.id}")


def _place(source: Source, revision: str) -> str:
    match source:
        case HubSource():
            return f"Hugging Face hub, {revision[:12]}"
        case LocalSource():
            return source.path
        case PackagedGGUFSource():
            return f"package {source.package}"


def _size(parameters: int) -> str:
    if parameters < 10**9:
        return f"{parameters / 1e6:.3g} M"
    return f"{parameters / 1e9:.3g} B"
