"""What shows only when an environment runs: its rows, its prompts, its rewards.

A reward is asked about every gold answer twice, about no answer at all, and about the gold answer
of another row. From that it can be seen whether it raises, varies, is zero where it should not be,
or cannot tell right from wrong.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from freesolo.datasets import TaskExample
from freesolo.datasets.types import Message
from freesolo.errors import EnvironmentFailed
from freesolo.package.findings import Finding, Severity
from freesolo.runtime.client import EnvironmentHost, Score

# Enough to judge by, and few enough for a reward that asks another model.
_GOLD_ROWS = 256
_PROMPT_ROWS = 5000
# Each failure may have cost a whole timeout or several.
_ENOUGH_FAILURES = 3


def check_contract(host: EnvironmentHost) -> list[Finding]:
    """Check a loaded environment. Raise `EnvironmentFailed` if its data or suites do not load."""
    examples = host.examples()
    suites = host.suites()
    prompts, findings = _prompts(host, examples)
    findings += _duplicates(examples)
    if not suites:
        findings.append(
            _info("no_heldout", "There is no evaluations.py, so nothing can be measured later.")
        )
    cases = {_fingerprint(case.messages) for suite in suites for case in suite.cases}
    findings += _overlap(prompts, cases)
    return findings + audit_gold(host, examples)


def check_gold(host: EnvironmentHost) -> list[Finding]:
    """Check what the reward makes of the dataset's gold answers."""
    return audit_gold(host, host.examples())


def audit_gold(host: EnvironmentHost, examples: Sequence[TaskExample]) -> list[Finding]:
    """Check what the reward makes of the gold answers of `examples`, or of some spread over them."""
    if host.multi_turn:
        return [_info("gold_not_scored", "Gold answers of several turns are not scored.")]
    labelled = [row for row, example in enumerate(examples) if example.output is not None]
    if not labelled:
        return [_info("gold_missing", "No row has an `output`, so the reward was not tried.")]
    rows = _spread(labelled, _GOLD_ROWS)
    try:
        gold = {row: _answer_text(host.sft_completion(examples[row])) for row in rows}
    except EnvironmentFailed as error:
        return [_failed("prompt_failed", error)]
    outcomes = _outcomes(host, examples, gold)
    findings = [*_failures(outcomes), *_zeros(outcomes), *_doubts(outcomes)]
    if len(rows) < len(labelled):
        findings.append(
            _info("sampled", f"The reward was tried on {len(rows)} of {len(labelled)} rows.")
        )
    return findings


def code_failure(error: EnvironmentFailed) -> Finding:
    """Return the finding for an environment that does not load."""
    return _failed("env_failed", error)


@dataclass(frozen=True)
class _Outcome:
    """What the reward said about one row: its gold answer, twice, and some wrong answers."""

    row: int
    gold: Score
    again: Score
    wrong: Sequence[Score]


def _prompts(
    host: EnvironmentHost, examples: Sequence[TaskExample]
) -> tuple[dict[int, str], list[Finding]]:
    prompts: dict[int, str] = {}
    failures: list[tuple[int, EnvironmentFailed]] = []
    for row in _spread(range(len(examples)), _PROMPT_ROWS):
        try:
            prompts[row] = _fingerprint(host.start_episode(examples[row]))
        except EnvironmentFailed as error:
            failures.append((row, error))
            if len(failures) == _ENOUGH_FAILURES:
                break
    if not failures:
        return prompts, []
    rows = tuple(row for row, _ in failures)
    return prompts, [_failed("prompt_failed", failures[0][1], rows)]


def _outcomes(
    host: EnvironmentHost, examples: Sequence[TaskExample], gold: dict[int, str]
) -> list[_Outcome]:
    outcomes: list[_Outcome] = []
    others = [*list(gold.values())[1:], *list(gold.values())[:1]]
    failed = fragile = 0
    for (row, answer), other in zip(gold.items(), others, strict=True):
        tried = ("", other) if fragile < _ENOUGH_FAILURES else ()
        wrong = [text for text in tried if text.strip() != answer.strip()]
        first, again, *rest = host.score_responses(examples[row], [answer, answer, *wrong])
        outcomes.append(_Outcome(row, first, again, rest))
        failed += first.error is not None
        fragile += any(score.error for score in rest)
        if failed == _ENOUGH_FAILURES:
            break
    return outcomes


def _failures(outcomes: Sequence[_Outcome]) -> Iterator[Finding]:
    for code, raised in (("gold_failed", True), ("gold_unusable", False)):
        failed = [
            (outcome.row, outcome.gold.error)
            for outcome in outcomes
            if outcome.gold.error and outcome.gold.raised is raised
        ]
        if failed:
            yield _failed(code, failed[0][1], tuple(row for row, _ in failed))
    fragile = [
        (outcome.row, score.error)
        for outcome in outcomes
        for score in outcome.wrong
        if score.error and not outcome.gold.error
    ]
    if fragile:
        rows = tuple(dict.fromkeys(row for row, _ in fragile))
        error = fragile[0][1]
        message = f"A wrong answer cannot be scored: {error.message}"
        yield Finding("wrong_failed", Severity.WARNING, message, rows, error.traceback)


def _zeros(outcomes: Sequence[_Outcome]) -> Iterator[Finding]:
    scored = [outcome for outcome in outcomes if outcome.gold.reward is not None]
    zero = tuple(outcome.row for outcome in scored if (outcome.gold.reward or 0.0) <= 0.0)
    if zero and len(zero) == len(scored):
        message = "No gold answer gets a positive reward; the reward does not see what is right."
        yield Finding("gold_all_zero", Severity.ERROR, message, zero)
    elif zero:
        message = f"{len(zero)} of {len(scored)} gold answers get no positive reward."
        yield Finding("gold_some_zero", Severity.WARNING, message, zero)


def _doubts(outcomes: Sequence[_Outcome]) -> Iterator[Finding]:
    varying = tuple(
        outcome.row for outcome in outcomes if outcome.gold.reward != outcome.again.reward
    )
    if varying:
        message = "The same answer got different rewards when it was scored again."
        yield Finding("reward_varies", Severity.WARNING, message, varying)
    compared = [
        (outcome.gold.reward, score.reward)
        for outcome in outcomes
        for score in outcome.wrong
        if outcome.gold.reward is not None and score.reward is not None
    ]
    if compared and all(wrong >= gold for gold, wrong in compared):
        message = "No wrong answer gets less than the gold answer; there is nothing to learn."
        yield Finding("reward_blind", Severity.WARNING, message)


def _duplicates(examples: Sequence[TaskExample]) -> Iterator[Finding]:
    seen = set()
    repeated = []
    for row, example in enumerate(examples):
        content = json.dumps([example.input, example.output, example.record], sort_keys=True)
        if content in seen:
            repeated.append(row)
        seen.add(content)
    if repeated:
        message = f"{len(repeated)} rows repeat an earlier one."
        yield Finding("duplicate_rows", Severity.WARNING, message, tuple(repeated))


def _overlap(prompts: dict[int, str], cases: set[str]) -> Iterator[Finding]:
    leaked = tuple(row for row, prompt in prompts.items() if prompt in cases)
    if leaked:
        message = f"{len(leaked)} training rows ask what a held-out case asks."
        yield Finding("heldout_overlap", Severity.WARNING, message, leaked)


def _answer_text(messages: Sequence[Message]) -> str:
    """Return what the model says last, as the reward gets it."""
    spoken = [message.get("content") for message in messages if message["role"] == "assistant"]
    return spoken[-1] if spoken and isinstance(spoken[-1], str) else ""


def _fingerprint(messages: Sequence[Message]) -> str:
    """Return what makes two prompts the same question, whatever their spacing and case."""
    contents = [(message["role"], message.get("content")) for message in messages]
    return " ".join(json.dumps(contents, sort_keys=True).casefold().split())


def _spread(rows: Sequence[int], most: int) -> Sequence[int]:
    """Return at most `most` of `rows`, evenly spread and always the same ones."""
    if len(rows) <= most:
        return rows
    return [rows[index * len(rows) // most] for index in range(most)]


def _failed(code: str, error: EnvironmentFailed, rows: tuple[int, ...] = ()) -> Finding:
    return Finding(code, Severity.ERROR, error.message, rows, error.traceback)


def _info(code: str, message: str) -> Finding:
    return Finding(code, Severity.INFO, message)
