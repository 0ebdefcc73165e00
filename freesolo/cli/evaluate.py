"""`freesolo eval`: ask a model every case of an environment's held-out suites and score the answers."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from freesolo.cli.context import App, json_option, pass_app, sandbox_option
from freesolo.client.chat import ChatClient
from freesolo.datasets.serialize import json_view
from freesolo.domain.refs import EnvRef
from freesolo.domain.statistics import mean, wilson_interval
from freesolo.domain.suggest import did_you_mean
from freesolo.domain.train_spec import parse_document
from freesolo.errors import (
    ContextLengthExceeded,
    EnvironmentFailed,
    FreesoloError,
    InvalidEnvironment,
    LimitExceeded,
    NotFound,
    Unavailable,
)
from freesolo.runtime.client import Case, EnvironmentHost, Foundation, Suite, open_host


@dataclass(frozen=True)
class CaseResult:
    """One answer and its score; `error` says why there is no score."""

    id: str
    prompt: str
    expected: str | None
    answer: str | None
    score: float | None
    passed: bool
    error: str | None


@dataclass(frozen=True)
class SuiteResult:
    """What a model got in one suite; errors count neither as passed nor into the mean."""

    name: str
    cases: tuple[CaseResult, ...]

    def document(self) -> dict[str, object]:
        """Return the result as `--json` prints it; `interval` is of passed / total at 95 %."""
        passed = sum(case.passed for case in self.cases)
        return {
            "name": self.name,
            "total": len(self.cases),
            "passed": passed,
            "errors": sum(case.error is not None for case in self.cases),
            "mean_score": mean([case.score for case in self.cases if case.score is not None]),
            "interval": list(wilson_interval(passed, len(self.cases))),
            "cases": [asdict(case) for case in self.cases],
        }


@click.command(name="eval")
@click.argument("target")
@click.argument("environment")
@click.option("--suite", "names", multiple=True, help="Only this suite. Repeatable.")
@click.option(
    "--param",
    "params",
    multiple=True,
    metavar="KEY=VALUE",
    help="An argument for `load_environment`, such as split=hard. Repeatable.",
)
@click.option("--limit", type=click.IntRange(min=1), help="Only the first cases of each suite.")
@click.option("--concurrency", type=click.IntRange(1, 256), default=8, show_default=True)
@click.option("--max-tokens", type=click.IntRange(min=1), default=256, show_default=True)
@click.option("--temperature", type=click.FloatRange(0, 2), default=0.0, show_default=True)
@sandbox_option
@json_option("target, suites[] (name, total, passed, errors, mean_score, interval, cases[])")
@pass_app
def evaluate(  # noqa: PLR0913 - one parameter for each option
    app: App,
    target: str,
    environment: str,
    *,
    names: Sequence[str],
    params: Sequence[str],
    limit: int | None,
    concurrency: int,
    max_tokens: int,
    temperature: float,
    sandbox: str,
) -> None:
    """Score TARGET (a deployed run or a base model) on ENVIRONMENT (a folder or a reference)."""
    results = []
    # A date in TOML is text in JSON, as which a config would hold it.
    arguments = json_view(parse_document("", params))
    folder, foundation = _find(app, environment)
    options = app.host_options(sandbox)
    with (
        open_host(folder, options, params=arguments, foundation=foundation) as host,
        app.gateway() as gateway,
    ):
        for suite in _chosen(host.suites(), names, environment):
            asking = _Asking(gateway, target, max_tokens=max_tokens, temperature=temperature)
            cases = suite.cases[:limit]
            with app.out.progress(f"{suite.name} on {target}", len(cases)) as bar:
                done = []
                for result in _results(host, asking, suite.name, cases, concurrency=concurrency):
                    bar.advance()
                    done.append(result)
            results.append(SuiteResult(suite.name, tuple(done)))
    _show(app, target, results)


@dataclass(frozen=True)
class _Asking:
    gateway: ChatClient
    model: str
    max_tokens: int
    temperature: float

    def __call__(self, case: Case) -> str:
        answer = self.gateway.complete(
            self.model,
            case.messages,
            max_tokens=self.max_tokens,
            temperature=self.temperature,
        )
        return answer.text


def _find(app: App, environment: str) -> tuple[Path, Foundation]:
    """Return a local folder, or that of a published version, and what its environment stands on."""
    folder = Path(environment)
    if folder.is_dir():
        return folder, app.environments.foundation_of(folder)
    placed = app.environments.place(EnvRef.parse(environment), Path.cwd())
    return placed.folder, placed.foundation


def _chosen(suites: Sequence[Suite], names: Sequence[str], environment: str) -> list[Suite]:
    if not suites:
        raise InvalidEnvironment(
            f"{environment} has no evaluation suite.",
            hint="Add an `evaluations.py` with `load_evaluations()`; `freesolo init` makes one.",
        )
    by_name = {suite.name: suite for suite in suites}
    for name in names:
        if name not in by_name:
            raise NotFound(
                f"{environment} has no suite {name!r}.",
                hint=did_you_mean(name, by_name) or f"It has: {', '.join(by_name)}.",
            )
    return [by_name[name] for name in names] if names else list(suites)


def _results(
    host: EnvironmentHost, ask: _Asking, suite: str, cases: Sequence[Case], *, concurrency: int
) -> Iterator[CaseResult]:
    """Yield the results in the order of the cases; the answers are asked for side by side."""
    with ThreadPoolExecutor(max_workers=concurrency) as pool:
        pending = [pool.submit(_answer, ask, case) for case in cases]
        try:
            for case, future in zip(cases, pending, strict=True):
                yield _scored(host, suite, case, future.result())
        finally:
            # A wrong key or an unknown model fails every case alike: the rest is not asked for.
            pool.shutdown(cancel_futures=True)


def _answer(ask: _Asking, case: Case) -> str | FreesoloError:
    """Return the model's answer, or why there is none; what would fail every case is raised."""
    try:
        return ask(case)
    except (ContextLengthExceeded, LimitExceeded, Unavailable) as error:
        return error


def _scored(
    host: EnvironmentHost, suite: str, case: Case, answer: str | FreesoloError
) -> CaseResult:
    if isinstance(answer, FreesoloError):
        return _result(case, None, error=answer.message)
    score = host.score_case(suite, case.index, answer)
    if score.error is not None:
        return _result(case, answer, error=score.error.message)
    return _result(case, answer, score=score.reward, passed=bool(score.success))


def _result(
    case: Case,
    answer: str | None,
    *,
    score: float | None = None,
    passed: bool = False,
    error: str | None = None,
) -> CaseResult:
    prompt = str(case.messages[-1]["content"]) if case.messages else ""
    expected = None if case.expected is None else str(case.expected)
    return CaseResult(case.id, prompt, expected, answer, score, passed, error)


def _show(app: App, target: str, results: Sequence[SuiteResult]) -> None:
    documents = [result.document() for result in results]
    app.out.document({"target": target, "suites": documents})
    app.out.table(
        ("suite", "passed", "total", "95 % interval", "mean score", "errors"),
        [
            (
                result.name,
                sum(case.passed for case in result.cases),
                len(result.cases),
                "{:.1%} - {:.1%}".format(
                    *wilson_interval(sum(case.passed for case in result.cases), len(result.cases))
                ),
                f"{mean([case.score for case in result.cases if case.score is not None]):.3f}",
                sum(case.error is not None for case in result.cases),
            )
            for result in results
        ],
    )
    for result in results:
        failed = [case for case in result.cases if case.error is not None]
        for case in failed[:3]:
            app.out.talk(f"{result.name} {case.id}: {case.error}")
    cases = [case for result in results for case in result.cases]
    if not cases or any(case.error is None for case in cases):
        return
    if all(case.answer is None for case in cases):
        raise Unavailable(f"{target} answered not one case.", hint=cases[0].error)
    raise EnvironmentFailed("Not one case could be scored.", hint=cases[0].error)
