"""`freesolo results`: what models got in the suites of environments, as the hub keeps it."""

from collections.abc import Sequence
from itertools import groupby, islice
from pathlib import Path
from uuid import UUID

import click
from packaging.version import Version

from freesolo.cli.context import App, confirm, json_option, pass_app, yes_option
from freesolo.cli.scores import (
    COMPARISON_KEYS,
    SUITE_KEYS,
    comparison_document,
    show_cases,
    show_comparison,
    show_suites,
    span,
    suite_document,
)
from freesolo.domain.evaluations import CaseResult, compare
from freesolo.domain.refs import EnvRef
from freesolo.errors import InvalidInput
from freesolo.evaluation.storing import stored_results
from freesolo.package.files import load_manifest
from freesolo.schemas.evaluations import Evaluation

_EVALUATION = (
    "id, ref, version, tree_digest, target, revision, endpoint, settings, created_by, created_at, "
    f"suites[] ({SUITE_KEYS})"
)
_CASE = "suite, index, sample, id, prompt, expected, answer, outcome, score, error"


class _Results(click.Group):
    """A group that takes `results ENVIRONMENT` for `results list ENVIRONMENT`."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if self.get_command(ctx, args[0]) is None:
            args = ["list", *args]
        return super().resolve_command(ctx, args)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        # `results --json ENVIRONMENT`: the group has no options of its own but `--help`.
        if args and args[0].startswith("-") and args[0] not in self.get_help_option_names(ctx):
            args = ["list", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_Results)
def results() -> None:
    """Show what models got: `freesolo results ENVIRONMENT`, or one of the commands below."""


@results.command(name="list")
@click.argument("environment")
@click.option("--target", help="Only of this model.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=500, show_default=True)
@click.option("--all", "everything", is_flag=True, help="Show older ones of the same model too.")
@json_option(f"evaluations[] ({_EVALUATION})")
@pass_app
def list_results(
    app: App, environment: str, *, target: str | None, limit: int, everything: bool
) -> None:
    """Show what models got on ENVIRONMENT, a folder or a reference, version by version."""
    ref = _named(app, environment)
    found = list(islice(app.hub.evaluations(ref, target=target), limit))
    shown = found if everything else _newest_of_each(found)
    app.out.document({"evaluations": [_document(each) for each in shown]})
    if not found:
        app.out.talk(f"Nothing is kept of {ref.full_name}.")
        app.out.next_step(f"freesolo eval TARGET {ref.full_name}")
        return
    by_version = sorted(shown, key=lambda each: Version(each.version), reverse=True)
    for version, of_version in groupby(by_version, key=lambda each: each.version):
        _show_version(app, version, list(of_version))
    if hidden := len(found) - len(shown):
        app.out.talk(f"{hidden} older ones of the same models: --all shows them.")
    app.out.next_step(f"freesolo results show {shown[0].id}")


@results.command()
@click.argument("evaluation_id", metavar="ID", type=click.UUID)
@click.option("--cases", "every", is_flag=True, help="Show every case, not only those that failed.")
@json_option(f"{_EVALUATION}, cases[] ({_CASE})")
@pass_app
def show(app: App, evaluation_id: UUID, *, every: bool) -> None:
    """Show one evaluation and its cases."""
    found = app.hub.evaluation(evaluation_id)
    cases = list(app.hub.evaluation_cases(evaluation_id))
    app.out.document(
        {**_document(found), "cases": [case.model_dump(mode="json") for case in cases]}
    )
    app.out.fields(
        {
            "environment": f"{found.ref}@{found.version}",
            "tree digest": found.tree_digest,
            "target": found.target,
            "revision": found.revision or "not told",
            "endpoint": found.endpoint or "the platform's gateway",
            "asked with": _settings(found),
            "by": f"{found.created_by}, {found.created_at:%Y-%m-%d %H:%M}",
        }
    )
    app.out.data()
    show_suites(app.out, [(found.target, suite) for suite in found.suites])
    for name, results_of in stored_results(cases).items():
        shown = [case for case in results_of if every or not case.passed]
        if shown:
            app.out.data(f"\n{name}:")
            show_cases(app.out, shown)


@results.command(name="compare")
@click.argument("first_id", metavar="FIRST", type=click.UUID)
@click.argument("second_id", metavar="SECOND", type=click.UUID)
@json_option(f"first, second, comparisons[] ({COMPARISON_KEYS})")
@pass_app
def compare_results(app: App, first_id: UUID, second_id: UUID) -> None:
    """Say whether SECOND is better than FIRST: two evaluations of the same files, case by case."""
    first, second = app.hub.evaluation(first_id), app.hub.evaluation(second_id)
    if first.tree_digest != second.tree_digest:
        raise InvalidInput(
            f"{first_id} is of {first.ref}@{first.version}, {second_id} of "
            f"{second.ref}@{second.version}: other files, so perhaps other cases.",
            hint="`freesolo eval --compare A B ENVIRONMENT` asks both models the same.",
        )
    pairs = _pairs(app, first, second)
    comparisons = [compare(name, one, other) for name, one, other in pairs]
    known = [comparison for comparison in comparisons if comparison is not None]
    app.out.document(
        {
            "first": _document(first),
            "second": _document(second),
            "comparisons": [comparison_document(comparison) for comparison in known],
        }
    )
    for comparison in known:
        show_comparison(app.out, comparison, [first.target, second.target])
    if first.settings != second.settings:
        app.out.talk(f"They were not asked alike: {_settings(first)} and {_settings(second)}.")


@results.command()
@click.argument("evaluation_id", metavar="ID", type=click.UUID)
@yes_option
@json_option("id")
@pass_app
def rm(app: App, evaluation_id: UUID, *, yes: bool) -> None:
    """Remove an evaluation with all its cases."""
    confirm(app, f"Remove the evaluation {evaluation_id}?", yes=yes)
    app.hub.delete_evaluation(evaluation_id)
    app.out.document({"id": str(evaluation_id)})
    app.out.data(f"Removed {evaluation_id}.")


def _named(app: App, environment: str) -> EnvRef:
    folder = Path(environment)
    if folder.is_dir():
        return EnvRef(app.hub.whoami().org, load_manifest(folder).name)
    return EnvRef.parse(environment)


def _newest_of_each(found: Sequence[Evaluation]) -> list[Evaluation]:
    """Return the newest for each model and way to ask it, on each version; they come newest first."""
    newest: dict[tuple[str | None, ...], Evaluation] = {}
    for each in found:
        model = (each.target, each.revision, each.endpoint)
        asked = (each.settings.model_dump_json(), *(suite.name for suite in each.suites))
        key = (each.version, *model, *asked)
        newest.setdefault(key, each)
    return list(newest.values())


def _pairs(
    app: App, first: Evaluation, second: Evaluation
) -> list[tuple[str, list[CaseResult], list[CaseResult]]]:
    one, other = (
        stored_results(list(app.hub.evaluation_cases(each.id))) for each in (first, second)
    )
    shared = [name for name in one if name in other]
    if not shared:
        raise InvalidInput(f"{first.id} and {second.id} have no suite in common.")
    return [(name, one[name], other[name]) for name in shared]


def _show_version(app: App, version: str, found: Sequence[Evaluation]) -> None:
    app.out.data(f"{found[0].ref} {version}  {found[0].tree_digest}", style="bold")
    suites = list(dict.fromkeys(suite.name for each in found for suite in each.suites))
    app.out.table(
        ("target", *suites, "revision", "asked with", "when", "id"),
        [
            (
                each.target if each.endpoint is None else f"{each.target} at {each.endpoint}",
                *(_cell(each, name) for name in suites),
                each.revision,
                _settings(each),
                f"{each.created_at:%Y-%m-%d %H:%M}",
                each.id,
            )
            for each in found
        ],
    )


def _cell(evaluation: Evaluation, name: str) -> str:
    """Return the pass rate in a suite with its interval, and how many answers that is of."""
    suite = next((suite for suite in evaluation.suites if suite.name == name), None)
    if suite is None:
        return ""
    errors = suite.unscorable + suite.unanswered
    failed = f", {errors} errors" if errors else ""
    if suite.pass_rate is None:
        return f"nothing scored{failed}"
    scored = suite.total - errors
    return f"{suite.pass_rate:.1%} ({span(suite.interval, percent=True)}) of {scored}{failed}"


def _settings(evaluation: Evaluation) -> str:
    given = evaluation.settings.model_dump(exclude_none=True, exclude_defaults=True)
    return ", ".join(f"{name} {value}" for name, value in given.items())


def _document(evaluation: Evaluation) -> dict[str, object]:
    document = evaluation.model_dump(mode="json")
    return {**document, "suites": [suite_document(suite) for suite in evaluation.suites]}
