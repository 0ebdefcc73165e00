"""An environment's code, tried as its own configs would load it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import JsonValue

from freesolo.domain.train_spec import parse_document, parse_train_spec
from freesolo.errors import EnvironmentFailed
from freesolo.package.audit import check_contract, code_failure
from freesolo.package.findings import Finding, Severity
from freesolo.runtime.client import Foundation, HostOptions, open_host

# Each is a process of its own, and asks the reward about every row.
_MOST_TRIALS = 4


@dataclass(frozen=True)
class Use:
    """How a config loads the environment."""

    config: str
    params: Mapping[str, JsonValue]
    requirements: Sequence[str]


@dataclass(frozen=True)
class Trial:
    """What was found with one use of the environment; `layers` is empty if it did not load."""

    use: Use
    findings: Sequence[Finding]
    layers: tuple[str, ...] = ()


def try_code(
    folder: Path, options: HostOptions, foundation: Foundation, *, secrets: Mapping[str, str]
) -> list[Trial]:
    """Load the environment in `folder` in each way its configs do, or plainly without any config.

    Of many ways only the first few are tried. The configs must be valid.
    """
    uses = list(_distinct_uses(folder)) or [Use("", {}, ())]
    trials = [
        _try(folder, options, foundation, use, secrets=secrets) for use in uses[:_MOST_TRIALS]
    ]
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
                message = f"{finding.message} (with the parameters of {trial.use.config})"
                yield replace(finding, message=message)


def _distinct_uses(folder: Path) -> Iterator[Use]:
    seen: list[tuple[object, object]] = []
    for path in sorted(folder.glob("configs/**/*.toml")):
        spec = parse_train_spec(parse_document(path.read_text(encoding="utf-8"))).environment
        if (spec.params, spec.pip) not in seen:
            seen.append((spec.params, spec.pip))
            yield Use(path.relative_to(folder).as_posix(), spec.params, spec.pip)


def _try(
    folder: Path,
    options: HostOptions,
    foundation: Foundation,
    use: Use,
    *,
    secrets: Mapping[str, str],
) -> Trial:
    layers: tuple[str, ...] = ()
    try:
        with open_host(
            folder,
            options,
            params=use.params,
            requirements=use.requirements,
            secrets=secrets,
            foundation=foundation,
        ) as host:
            layers = host.layers
            return Trial(use, check_contract(host), layers)
    except EnvironmentFailed as error:
        return Trial(use, [code_failure(error)], layers)
