"""An environment's code, tried as its own configs would load it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from freesolo.datasets import TaskExample
from freesolo.domain.train_spec import TrainSpec
from freesolo.errors import EnvironmentFailed
from freesolo.package.audit import audit_rewards, effort_for
from freesolo.package.audit_answers import takes_both
from freesolo.package.dataset_checks import (
    check_held_out,
    check_rows,
    check_think_tags,
    contradictory,
    places,
    question_of,
)
from freesolo.package.dataset_report import fingerprint
from freesolo.package.files import collect_files
from freesolo.package.findings import Finding, Severity
from freesolo.package.modules import Import, Need, check_imports, installed_modules
from freesolo.package.prompts import (
    FindModel,
    check_lengths,
    counters_for,
    read_prompts,
    spread,
)
from freesolo.package.report import UseFacts
from freesolo.runtime.client import (
    EnvironmentHost,
    Foundation,
    HostOptions,
    open_host,
    read_manifest,
)

# Each is a process of its own, and asks the reward about every row.
_MOST_TRIALS = 4
# Of rows that contradict each other.
_ASKED_TWICE = 8


@dataclass(frozen=True)
class Trial:
    """What was found with one use of the environment; `layers` is empty if it did not load."""

    facts: UseFacts
    findings: Sequence[Finding]
    layers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Bench:
    """What trials are made with: the packed files, how to run them, and what is known of them.

    Of `secrets` an environment gets those that are `declared` by the manifest, or by the config.
    """

    folder: Path
    options: HostOptions
    foundation: Foundation
    secrets: Mapping[str, str]
    declared: Sequence[str]
    imports: Sequence[Import]
    find_model: FindModel


def try_code(bench: Bench, specs: Mapping[str, TrainSpec]) -> list[Trial]:
    """Load the environment in each way its configs do, or plainly without any config.

    Of many ways only the first few are tried.
    """
    uses = _distinct_uses(specs) or [{}]
    trials = [_try(bench, use) for use in uses[:_MOST_TRIALS]]
    if len(uses) > _MOST_TRIALS:
        message = f"Only {_MOST_TRIALS} of the {len(uses)} configs' parameters were tried."
        sampled = Finding("sampled", Severity.INFO, message)
        trials = [replace(trial, findings=[*trial.findings, sampled]) for trial in trials]
    return trials


def merged_findings(trials: Sequence[Trial]) -> Iterator[Finding]:
    """Yield each finding once; one that not every trial made names the config it came with."""
    shared = [
        finding
        for finding in trials[0].findings
        if all(finding in trial.findings for trial in trials)
    ]
    yield from shared
    for trial in trials:
        for finding in trial.findings:
            if finding not in shared:
                config = next(iter(trial.facts.configs), "")
                message = f"{finding.message} (with the parameters of {config})"
                yield replace(finding, message=message)


def _distinct_uses(specs: Mapping[str, TrainSpec]) -> list[dict[str, TrainSpec]]:
    """Put those configs together that load the environment in the same way."""
    uses: list[dict[str, TrainSpec]] = []
    for path, spec in specs.items():
        same = next((use for use in uses if _loads_alike(spec, *use.values())), None)
        if same is None:
            uses.append({path: spec})
        else:
            same[path] = spec
    return uses


def _loads_alike(spec: TrainSpec, other: TrainSpec, *_: TrainSpec) -> bool:
    first, second = spec.environment, other.environment
    return (first.params, first.pip, first.secrets) == (second.params, second.pip, second.secrets)


def _try(bench: Bench, use: Mapping[str, TrainSpec]) -> Trial:
    facts = UseFacts(configs=tuple(use))
    layers: tuple[str, ...] = ()
    try:
        with _open(bench, use) as host:
            layers = host.layers
            facts, findings = _look(bench, host, use)
    except EnvironmentFailed as error:
        failed = Finding("env_failed", Severity.ERROR, error.message, traceback=error.traceback)
        return Trial(facts, [failed], layers)
    return Trial(facts, findings, layers)


def _open(bench: Bench, use: Mapping[str, TrainSpec]) -> EnvironmentHost:
    # Any config of a use stands for all of them.
    specs = [spec.environment for spec in use.values()][:1]
    declared = {*bench.declared, *(name for spec in specs for name in spec.secrets)}
    return open_host(
        bench.folder,
        bench.options,
        params={name: value for spec in specs for name, value in spec.params.items()},
        requirements=[text for spec in specs for text in spec.pip],
        secrets={name: bench.secrets[name] for name in declared},
        foundation=bench.foundation,
    )


def _look(
    bench: Bench, host: EnvironmentHost, use: Mapping[str, TrainSpec]
) -> tuple[UseFacts, list[Finding]]:
    """Check a loaded environment: its rows, its prompts, its rewards."""
    examples = host.examples()
    facts, findings = _look_at_data(bench, host, use)
    findings += _check_late_imports(bench, host)
    if not any(finding.code == "prompt_failed" for finding in findings):
        audit = audit_rewards(
            host,
            examples,
            effort=effort_for(read_manifest(bench.folder)),
            thinking=any(spec.thinking for spec in use.values()),
            reopen=lambda: _open(bench, use),
        )
        facts = replace(facts, audit=audit.facts)
        findings += audit.findings
    return facts, list(_placed(bench.folder, examples, findings))


def _look_at_data(
    bench: Bench, host: EnvironmentHost, use: Mapping[str, TrainSpec]
) -> tuple[UseFacts, list[Finding]]:
    examples = host.examples()
    suites = host.suites()
    rows = check_rows(examples, multi_turn=host.multi_turn)
    findings = [*rows.findings, *_check_contradictions(host, rows.contradictions)]
    if not suites:
        message = "There is no evaluations.py, so nothing can be measured later."
        findings.append(Finding("no_heldout", Severity.INFO, message))
    counters = counters_for(use, bench.find_model)
    prompts = read_prompts(host, examples, counters)
    cases = [case for suite in suites for case in suite.cases]
    lengths, too_long = check_lengths(use, bench.find_model, counters, prompts.tokens)
    findings += prompts.findings
    findings += check_held_out(prompts.questions, (question_of(case.messages) for case in cases))
    findings += too_long
    for path, spec in use.items():
        if spec.thinking:
            findings += check_think_tags(examples, path)
    return UseFacts(tuple(use), replace(rows.facts, cases=len(cases)), tuple(lengths)), findings


def _check_contradictions(
    host: EnvironmentHost, contradictions: Sequence[tuple[int, int]]
) -> Iterator[Finding]:
    """Yield what contradicts, and ask the reward of some whether both gold answers are right."""
    if contradictions:
        some = [contradictions[i] for i in spread(range(len(contradictions)), _ASKED_TWICE)]
        examples = host.examples()
        yield contradictory(
            contradictions,
            all_right=not host.multi_turn
            and all(takes_both(host, examples[row], examples[first]) for row, first in some),
        )


def _check_late_imports(bench: Bench, host: EnvironmentHost) -> Iterator[Finding]:
    """Yield the modules that are imported only when they are needed, and are not installed. What was
    imported at once is there, or the environment had not loaded.
    """
    later = [each for each in bench.imports if each.need is Need.LATER]
    return check_imports(later, {*installed_modules(host.python), *bench.foundation.modules})


def _placed(
    folder: Path, examples: Sequence[TaskExample], findings: Sequence[Finding]
) -> Iterator[Finding]:
    """Yield findings, those about rows with the place of the first one in the files."""
    first = {
        index: examples[finding.rows[0]].record
        for index, finding in enumerate(findings)
        if finding.rows and finding.path is None
    }
    found = places(folder, collect_files(folder), first.values())
    for index, finding in enumerate(findings):
        place = found.get(fingerprint(first[index])) if index in first else None
        yield replace(finding, path=place[0], line=place[1]) if place else finding
