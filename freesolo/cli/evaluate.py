"""`freesolo eval`: ask models every case of an environment's held-out suites and score the answers."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from freesolo.cli.context import (
    App,
    call_seconds_option,
    json_option,
    pass_app,
    sandbox_option,
)
from freesolo.cli.scores import (
    COMPARISON_KEYS,
    SUITE_KEYS,
    comparison_document,
    show_cases,
    show_comparison,
    show_suites,
    suite_document,
)
from freesolo.client.chat import ChatClient, EndpointClient
from freesolo.datasets.serialize import json_view
from freesolo.domain.refs import EnvRef
from freesolo.domain.suggest import did_you_mean
from freesolo.domain.train_spec import parse_document
from freesolo.errors import InvalidEnvironment, InvalidInput, NotFound
from freesolo.evaluation.models import AskedModel, Sampling, Target, find_target
from freesolo.evaluation.reports import (
    Report,
    case_document,
    compare_reports,
    require_room_for,
    write_reports,
)
from freesolo.evaluation.running import Played, run_suite
from freesolo.evaluation.storing import Asked, NotKept, Version, find_home, to_store
from freesolo.package.local_secrets import gather_secret, gather_secrets
from freesolo.package.lockfile import LockedEnvironment
from freesolo.runtime.client import (
    EnvironmentHost,
    Foundation,
    Handed,
    HostOptions,
    Suite,
    open_host,
    open_pool,
    read_manifest,
)
from freesolo.schemas.evaluations import public_address

# How often one answer is asked for, while the model's server says that it cannot give it now.
_ATTEMPTS = 3
# How many processes score the answers of one turn, at most.
_PROCESSES = 4
# How many cases that did not pass are shown, unless all are asked for.
_SHOWN = 10
_DOCUMENT = (
    "target, revision, environment (ref, version, tree_digest), evaluation, endpoint, "
    f"suites[] ({SUITE_KEYS}, cases[]); with --compare first and second, each of them so, and "
    f"comparisons[] ({COMPARISON_KEYS})"
)


@dataclass(frozen=True)
class _Subject:
    """The environment: its folder, what it stands on, and the published version if one was named."""

    text: str
    folder: Path
    foundation: Foundation
    placed: LockedEnvironment | None


@click.command(name="eval")
@click.argument("targets", nargs=-1, metavar="TARGET")
@click.argument("environment")
@click.option(
    "--compare",
    "pair",
    nargs=2,
    metavar="A B",
    help="Instead of TARGET: ask both the same and say whether B is better than A.",
)
@click.option("--suite", "names", multiple=True, help="Only this suite. Repeatable.")
@click.option(
    "--param",
    "params",
    multiple=True,
    metavar="KEY=VALUE",
    help="An argument for `load_environment`, such as split=hard. Repeatable.",
)
@click.option("--limit", type=click.IntRange(min=1), help="Only the first cases of each suite.")
@click.option(
    "--samples",
    type=click.IntRange(1, 100),
    default=1,
    show_default=True,
    help="Answers to each case; more than one tells something only with a temperature above 0.",
)
@click.option("--concurrency", type=click.IntRange(1, 256), default=8, show_default=True)
@click.option("--max-tokens", type=click.IntRange(min=1), default=256, show_default=True)
@click.option("--temperature", type=click.FloatRange(0, 2), default=0.0, show_default=True)
@click.option("--seed", type=click.IntRange(0, 2**31), help="Sent with each request.")
@click.option(
    "--endpoint",
    metavar="URL",
    help="Ask this OpenAI-compatible server instead of the platform, as in http://host:8000/v1.",
)
@click.option(
    "--endpoint-key-env",
    metavar="NAME",
    help="The variable that holds the endpoint's key: in the shell, `.env.local` or `.env`.",
)
@click.option("--store/--no-store", default=True, help="Keep the results in the hub, or do not.")
@click.option(
    "--out",
    "out_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write every answer to this file, with its whole episode: one JSON object a line.",
)
@click.option("--cases", "every", is_flag=True, help="Show every case, not only some that failed.")
@call_seconds_option
@sandbox_option
@json_option(_DOCUMENT)
@pass_app
def evaluate(  # noqa: PLR0913 - one parameter for each option
    app: App,
    targets: Sequence[str],
    environment: str,
    *,
    pair: tuple[str, str] | None,
    names: Sequence[str],
    params: Sequence[str],
    limit: int | None,
    samples: int,
    concurrency: int,
    max_tokens: int,
    temperature: float,
    seed: int | None,
    endpoint: str | None,
    endpoint_key_env: str | None,
    store: bool,
    out_file: Path | None,
    every: bool,
    sandbox: str,
    call_seconds: float,
) -> None:
    """Score TARGET on ENVIRONMENT.

    TARGET is a deployed run, one of its checkpoints (RUN_ID/step-N, or a revision) that is deployed
    or staged, a base model, or whatever --endpoint calls a model. ENVIRONMENT is a folder or a
    reference. What a published version's suites give is kept: `freesolo results ENVIRONMENT`.
    """
    asked = Asked(
        Sampling(max_tokens, temperature, seed),
        samples=samples,
        limit=limit,
        # A date in TOML is text in JSON, as which a config would hold it.
        params=json_view(parse_document("", params)),
        endpoint=None if endpoint is None else _address(endpoint),
    )
    chosen = _chosen_targets(targets, pair)
    if out_file is not None:
        require_room_for(out_file)
    subject = _find(app, environment)
    home = _home(app, subject) if store else None
    options = app.host_options(sandbox, call_seconds=call_seconds)
    with (
        _client(app, asked.endpoint, endpoint_key_env) as client,
        _open(subject, options, asked, concurrency=concurrency) as host,
    ):
        suites = _chosen_suites(host.suites(), names, subject)
        app.out.talk(f"Its code is fenced in by: {', '.join(host.layers)}.")
        reports = []
        for text in chosen:
            model = _model(app, text, client, asked)
            played = _ask(app, host, model, _first(suites, limit), asked, concurrency=concurrency)
            reports.append(Report(model, played))
    _keep(app, reports, home, asked, out_file, every=every)


def _chosen_targets(targets: Sequence[str], pair: tuple[str, str] | None) -> Sequence[str]:
    if pair is None and len(targets) == 1:
        return targets
    if pair is not None and not targets:
        return pair
    raise InvalidInput(
        f"{len(targets)} targets were given{' beside --compare' if pair else ''}.",
        hint="Write `freesolo eval TARGET ENVIRONMENT`, or "
        "`freesolo eval --compare A B ENVIRONMENT` for two of them.",
    )


def _address(url: str) -> str:
    try:
        return public_address(url.rstrip("/"))
    except ValueError as error:
        # Without the address itself: it may be a password that is wrong with it.
        raise InvalidInput(
            f"The endpoint's address cannot be used: {error}.",
            hint="Write it as OpenAI's clients take it, such as http://127.0.0.1:8000/v1; "
            "`--endpoint-key-env` is for its key.",
        ) from None


def _find(app: App, environment: str) -> _Subject:
    """Return a local folder, or that of a published version, and what its environment stands on."""
    folder = Path(environment)
    if folder.is_dir():
        return _Subject(environment, folder, app.environments.foundation_of(folder), None)
    placed = app.environments.place(EnvRef.parse(environment), Path.cwd())
    return _Subject(environment, placed.folder, placed.foundation, placed.version)


def _home(app: App, subject: _Subject) -> Version | None:
    """Return the version that the results belong to; say at once if they are not to be stored."""
    home = find_home(lambda: app.hub, subject.folder, subject.placed)
    if isinstance(home, NotKept):
        app.out.talk(f"The results will not be stored: {home.reason}")
        return None
    return home


@contextmanager
def _client(app: App, endpoint: str | None, key_name: str | None) -> Iterator[ChatClient]:
    if endpoint is None:
        if key_name is not None:
            raise InvalidInput("`--endpoint-key-env` goes with `--endpoint`.")
        with app.gateway(attempts=_ATTEMPTS) as client:
            yield client
        return
    key = None if key_name is None else gather_secret(key_name, Path.cwd())
    with EndpointClient(endpoint, key, attempts=_ATTEMPTS) as client:
        yield client


def _open(
    subject: _Subject, options: HostOptions, asked: Asked, *, concurrency: int
) -> EnvironmentHost:
    manifest = read_manifest(subject.folder)
    handed: Handed = {
        "params": asked.params,
        "secrets": gather_secrets(manifest.secrets if manifest else (), Path.cwd()),
        "foundation": subject.foundation,
    }
    # More than one is started only where answers come faster than one process scores them.
    size = min(concurrency, _PROCESSES)
    host = open_pool(subject.folder, options, size=size, **handed)
    if not host.multi_turn:
        return host
    # An environment may remember the episodes that are under way in it.
    host.close()
    return open_host(subject.folder, options, **handed)


def _chosen_suites(
    suites: Sequence[Suite], names: Sequence[str], subject: _Subject
) -> Sequence[Suite]:
    if not suites:
        raise InvalidEnvironment(
            f"{subject.text} has no evaluation suite.",
            hint="Add an `evaluations.py` with `load_evaluations()`; `freesolo init` makes one.",
        )
    by_name = {suite.name: suite for suite in suites}
    for name in names:
        if name not in by_name:
            raise NotFound(
                f"{subject.text} has no suite {name!r}.",
                hint=did_you_mean(name, by_name) or f"It has: {', '.join(by_name)}.",
            )
    return [by_name[name] for name in names] if names else suites


def _first(suites: Sequence[Suite], limit: int | None) -> list[Suite]:
    return [Suite(suite.name, suite.cases[:limit]) for suite in suites]


def _model(app: App, text: str, client: ChatClient, asked: Asked) -> AskedModel:
    ours = asked.endpoint is None
    target = find_target(text, app.hub) if ours else Target(text, text)
    return AskedModel(client, target, asked.sampling, settled=ours)


def _ask(
    app: App,
    host: EnvironmentHost,
    model: AskedModel,
    suites: Sequence[Suite],
    asked: Asked,
    *,
    concurrency: int,
) -> dict[str, list[Played]]:
    found = {}
    for suite in suites:
        count = len(suite.cases) * asked.samples
        played = []
        with app.out.progress(f"{suite.name} on {model.target.text}", count) as bar:
            for each in run_suite(
                host, model.ask, suite, samples=asked.samples, concurrency=concurrency
            ):
                bar.advance()
                played.append(each)
        found[suite.name] = played
    return found


def _keep(
    app: App,
    reports: Sequence[Report],
    home: Version | None,
    asked: Asked,
    out_file: Path | None,
    *,
    every: bool,
) -> None:
    """Store and show what the models got. What cannot be stored is shown all the same."""
    try:
        if out_file is not None:
            write_reports(out_file, reports)
        for report in reports:
            report.require_scores()
            if home is not None:
                new = to_store(home, report.model, asked, report.results)
                report.evaluation = str(app.hub.store_evaluation(new).id)
    finally:
        _show(app, reports, home, asked, every=every)
    if home is not None:
        app.out.next_step(f"freesolo results {home.ref}")


def _show(
    app: App, reports: Sequence[Report], home: Version | None, asked: Asked, *, every: bool
) -> None:
    comparisons = compare_reports(*reports) if len(reports) == 2 else []
    documents = [_document(report, home, asked) for report in reports]
    if len(reports) == 1:
        app.out.document(documents[0])
    elif reports:
        app.out.document(
            {
                "first": documents[0],
                "second": documents[1],
                "comparisons": [comparison_document(each) for each in comparisons],
            }
        )
    show_suites(
        app.out, [(report.target, suite) for report in reports for suite in report.summaries()]
    )
    for report in reports if len(reports) == 1 or every else ():
        _show_cases(app, report, every=every)
    for each in comparisons:
        app.out.data()
        show_comparison(app.out, each, [report.target for report in reports])
    for report in reports:
        _tell(app, report)


def _document(report: Report, home: Version | None, asked: Asked) -> dict[str, object]:
    return {
        "target": report.target,
        "revision": report.model.revision,
        "environment": home and asdict(home),
        "evaluation": report.evaluation,
        "endpoint": asked.endpoint,
        "suites": [
            {**suite_document(suite), "cases": [case_document(each) for each in results]}
            for suite, results in zip(report.summaries(), report.results.values(), strict=True)
        ],
    }


def _show_cases(app: App, report: Report, *, every: bool) -> None:
    results = report.every_result
    shown = results if every else [each for each in results if not each.passed][:_SHOWN]
    if shown:
        app.out.data()
        show_cases(app.out, shown)
    hidden = len(results) - len(shown)
    if shown and hidden:
        app.out.talk(f"{hidden} more cases: --cases shows all, --out FILE writes them whole.")


def _tell(app: App, report: Report) -> None:
    """Say what the figures do not."""
    model = report.model
    if model.revision is not None:
        app.out.talk(f"{report.target} answered as {model.revision}.")
    if model.cut_off:
        app.out.talk(f"{model.cut_off} answers of {report.target} were cut off by --max-tokens.")
    if report.evaluation is not None:
        app.out.talk(f"Kept as {report.evaluation}.")
