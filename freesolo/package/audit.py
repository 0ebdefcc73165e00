"""The reward audit: what a reward makes of gold answers, and of answers that are surely wrong.

A reward is asked about gold answers twice, about answers made from them, and about some of both
again in a fresh process. An environment of several turns is played against scripts instead.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Protocol

from freesolo.datasets import TaskExample
from freesolo.domain.manifest import Manifest
from freesolo.environments.answers import split_thinking
from freesolo.errors import EnvironmentFailed
from freesolo.package.audit_answers import AnswerProbe, gold_turns
from freesolo.package.audit_episodes import EpisodeProbe
from freesolo.package.audit_facts import AuditResult
from freesolo.package.audit_measures import GROUP, facts_of, latency_of
from freesolo.package.audit_outcomes import Outcome, same_rewards, with_other_right_answers
from freesolo.package.audit_verdicts import (
    dataset_varies,
    slow,
    stateful,
    varies,
    varying_rows,
    verdicts,
)
from freesolo.package.findings import Finding, Severity
from freesolo.package.perturbations import labels_of
from freesolo.package.prompts import spread
from freesolo.runtime.client import EnvironmentHost

# Of a GRPO step by the defaults: 32 prompts, 8 answers each.
_ROLLOUTS = 256

# Each failure may have cost a whole timeout or several.
_ENOUGH_FAILURES = 3
# An episode is many calls.
_EPISODE_ROWS, _WRONG_EPISODE_ROWS = 64, 16
_STRIDE = 8


@dataclass(frozen=True)
class Effort:
    """How much is asked of a reward: on how many rows gold answers are tried, on how many wrong ones,
    on how many a whole group is timed, and how many rows once more in a fresh process. No row is
    begun after `seconds`. Without `variants`, only surely wrong answers are tried.
    """

    gold_rows: int
    wrong_rows: int
    fresh_rows: int
    timed_rows: int = 0
    seconds: float = 20.0
    variants: bool = True


THOROUGH = Effort(gold_rows=256, wrong_rows=64, fresh_rows=8, timed_rows=4)
# A reward that may reach the network or holds a key may cost money with each answer.
FRUGAL = Effort(gold_rows=8, wrong_rows=4, fresh_rows=2, timed_rows=1, seconds=60.0, variants=False)
# Before each run, of a reward that may be costly too: whether it can score at all.
PREFLIGHT = Effort(gold_rows=32, wrong_rows=0, fresh_rows=0)


# Starts another process of the same environment.
Reopen = Callable[[], AbstractContextManager[EnvironmentHost]]


class Probe(Protocol):
    """Asks the reward about one row, in any host of the environment."""

    @property
    def examples(self) -> Mapping[int, TaskExample]:
        """The rows that may be asked about."""
        ...

    def __call__(self, host: EnvironmentHost, row: int, *, perturbed: bool) -> Outcome:
        """Ask about the gold answer, if there is one, and if `perturbed` about others."""
        ...


def effort_for(manifest: Manifest | None) -> Effort:
    """Return how much may be asked of a reward, by what its manifest declares."""
    costly = manifest is not None and (manifest.network or bool(manifest.secrets))
    return FRUGAL if costly else THOROUGH


def audit_rewards(
    host: EnvironmentHost,
    examples: Sequence[TaskExample],
    *,
    effort: Effort = THOROUGH,
    thinking: bool = False,
    reopen: Reopen | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> AuditResult:
    """Try the reward on `examples`, or on some spread over them.

    With `thinking`, the reward gets gold answers as it gets a model's: without what was thought.
    Without `reopen`, nothing is asked again in a fresh process.
    """
    plan = _plan(examples, effort, multi_turn=host.multi_turn)
    try:
        golds = dict(_golds(host, plan, thinking=thinking))
    except EnvironmentFailed as error:
        return AuditResult((_failed("prompt_failed", error),))
    probe = _probe(plan.examples, golds, effort, multi_turn=host.multi_turn)
    end = clock() + effort.seconds
    asked = list(_ask(probe, host, plan, in_time=lambda: clock() < end))
    outcomes = sorted(asked, key=lambda outcome: outcome.row)
    if host.multi_turn:
        outcomes = _without_doubtful_golds(outcomes, plan.examples)
    else:
        outcomes = with_other_right_answers(outcomes)
    timed = [] if host.multi_turn or clock() >= end else _sound_rows(outcomes)[: effort.timed_rows]
    groups = [_group_seconds(host, plan.examples[row], golds[row][-1], clock) for row in timed]
    latency = latency_of(outcomes, groups, rollouts=_ROLLOUTS)
    findings = [*verdicts(outcomes), *slow(latency), *_unlabelled(outcomes, plan)]
    if not any(finding.severity is Severity.ERROR for finding in findings):
        fresh = reopen if clock() < end else None
        findings += _consistency(probe, asked, fresh, effort.fresh_rows)
    findings += _sampled(outcomes, plan, effort)
    return AuditResult(tuple(findings), facts_of(outcomes, labelled=plan.labelled, latency=latency))


def check_gold(host: EnvironmentHost, *, thinking: bool = False) -> list[Finding]:
    """Check what the reward makes of the dataset's gold answers, and of nothing else."""
    audit = audit_rewards(host, host.examples(), effort=PREFLIGHT, thinking=thinking)
    return list(audit.findings)


@dataclass(frozen=True)
class _Plan:
    """Which rows are tried: those with gold answers if there are any, else some of the others."""

    labelled: int
    total: int
    rows: Sequence[int]
    perturbed: frozenset[int]
    examples: Mapping[int, TaskExample]


def _plan(examples: Sequence[TaskExample], effort: Effort, *, multi_turn: bool) -> _Plan:
    labelled = [row for row, example in enumerate(examples) if example.output is not None]
    most = min(effort.gold_rows, _EPISODE_ROWS) if multi_turn else effort.gold_rows
    wrong = min(effort.wrong_rows, _WRONG_EPISODE_ROWS) if multi_turn else effort.wrong_rows
    rows = spread(labelled, most) if labelled else spread(range(len(examples)), wrong)
    perturbed = spread(rows, wrong)
    # Those that tell most come first, and from all over the dataset: time may run out.
    first = [row for start in range(_STRIDE) for row in perturbed[start::_STRIDE]]
    chosen = frozenset(first)
    rest = [row for row in rows if row not in chosen]
    # Read from front to back, once: a large dataset comes page by page.
    kept = {row: examples[row] for row in rows}
    return _Plan(len(labelled), len(examples), [*first, *rest], chosen, kept)


def _probe(
    examples: Mapping[int, TaskExample],
    golds: Mapping[int, Sequence[str]],
    effort: Effort,
    *,
    multi_turn: bool,
) -> Probe:
    if multi_turn:
        return EpisodeProbe(examples, golds)
    answers = {row: spoken[-1] for row, spoken in golds.items()}
    labels = labels_of((examples[row].input, text) for row, text in answers.items())
    return AnswerProbe(examples, answers, labels, effort.variants)


def _ask(
    probe: Probe, host: EnvironmentHost, plan: _Plan, *, in_time: Callable[[], bool]
) -> Iterator[Outcome]:
    """Yield what the reward says of each row, until it has failed often enough."""
    failed = fragile = 0
    for row in plan.rows:
        perturbed = row in plan.perturbed and fragile < _ENOUGH_FAILURES
        outcome = probe(host, row, perturbed=perturbed)
        yield outcome
        failed += outcome.gold_failed
        fragile += any(tried.score.error for tried in outcome.tried)
        if failed == _ENOUGH_FAILURES or not in_time():
            return


def _sound_rows(outcomes: Sequence[Outcome]) -> list[int]:
    return [outcome.row for outcome in outcomes if outcome.first and not outcome.first.error]


def _group_seconds(
    host: EnvironmentHost, example: TaskExample, gold: str, clock: Callable[[], float]
) -> float:
    """Return what it takes to score a group, as a step of training does."""
    started = clock()
    host.score_responses(example, [gold] * GROUP)
    return clock() - started


def _consistency(
    probe: Probe, asked: Sequence[Outcome], reopen: Reopen | None, rows: int
) -> Iterator[Finding]:
    """Yield what shows that a reward depends on chance, or on what it was asked before.

    One that changed its mind is asked the same in a fresh process: if it changes it in just the
    same way, it is not chance. One that did not is asked in the opposite order.
    """
    varying = varying_rows(asked)
    if reopen is None:
        if varying:
            yield varies(varying)
        return
    some = asked[:rows] if varying else [asked[i] for i in spread(range(len(asked)), rows)][::-1]
    with reopen() as host:
        if moved := _moved(host, probe, some):
            yield dataset_varies(moved)
            return
        again = [probe(host, outcome.row, perturbed=bool(outcome.tried)) for outcome in some]
    differing = _differing(some, again, together=not varying)
    if varying:
        yield varies(varying) if differing else stateful(varying)
    elif differing:
        yield stateful(differing)


def _moved(host: EnvironmentHost, probe: Probe, outcomes: Sequence[Outcome]) -> tuple[int, ...]:
    """Return the rows of the dataset that are others in this process."""
    fresh = host.examples()
    return tuple(
        outcome.row
        for outcome in sorted(outcomes, key=lambda outcome: outcome.row)
        # As text, in which one NaN is like the other.
        if outcome.row >= len(fresh)
        or repr(fresh[outcome.row]) != repr(probe.examples[outcome.row])
    )


def _differing(
    before: Sequence[Outcome], again: Sequence[Outcome], *, together: bool = False
) -> tuple[int, ...]:
    """Return the rows that got other rewards the second time.

    What was scored `together` is compared only if asked for: threads come in another order each
    time, which a reward that remembers shows.
    """
    return tuple(
        old.row
        for old, new in zip(before, again, strict=False)
        if not same_rewards(old.gold_rewards, new.gold_rewards)
        or (together and not same_rewards(old.tried_rewards, new.tried_rewards))
    )


def _golds(
    host: EnvironmentHost, plan: _Plan, *, thinking: bool
) -> Iterator[tuple[int, list[str]]]:
    """Yield what gold answers say, by row."""
    for row in plan.rows if plan.labelled else ():
        if texts := gold_turns(host, plan.examples[row]):
            yield row, [split_thinking(text) if thinking else text for text in texts]


def _without_doubtful_golds(
    outcomes: Sequence[Outcome], examples: Mapping[int, TaskExample]
) -> list[Outcome]:
    """Return outcomes without the gold answers that seem to be no way to act.

    The `output` of an environment of several turns may be what is to be found out, rather than what
    is to be said. Unless it is messages, it has to prove itself by getting more than nonsense does.
    """
    proven = any(outcome.gold_wins for outcome in outcomes)
    return [
        outcome
        if outcome.gold_failed
        or (outcome.credited and proven)
        or isinstance(examples[outcome.row].output, list | dict)
        else replace(outcome, gold=None, first=None, again=None)
        for outcome in outcomes
    ]


def _unlabelled(outcomes: Sequence[Outcome], plan: _Plan) -> Iterator[Finding]:
    if not plan.labelled:
        message = "No row has an `output`, so the reward was tried on wrong answers only."
        yield Finding("gold_missing", Severity.INFO, message)
    elif not any(outcome.first for outcome in outcomes):
        message = (
            "No `output` is a way to act, so gold answers were not scored; make `sft_completion` "
            "return the turns of one."
        )
        yield Finding("gold_not_scored", Severity.INFO, message)


def _sampled(outcomes: Sequence[Outcome], plan: _Plan, effort: Effort) -> Iterator[Finding]:
    """Yield what was left out: rows beyond the sample, and what there was no time for."""
    rows = plan.labelled or plan.total
    if len(outcomes) == rows:
        return
    perturbed = sum(bool(outcome.tried) for outcome in outcomes)
    message = f"The reward was tried on {len(outcomes)} of {rows} rows, with wrong answers on "
    stopped = ""
    if len(outcomes) < len(plan.rows):
        often = sum(outcome.gold_failed for outcome in outcomes) == _ENOUGH_FAILURES
        stopped = ", since it fails" if often else f": its {effort.seconds:g} s were up"
    yield Finding("sampled", Severity.INFO, f"{message}{perturbed}{stopped}.")


def _failed(code: str, error: EnvironmentFailed, rows: tuple[int, ...] = ()) -> Finding:
    return Finding(code, Severity.ERROR, error.message, rows, error.traceback)
