"""What a reward's scores say about it. Pure: the scores are asked for elsewhere.

Only surely wrong answers count against a reward.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from freesolo.domain.statistics import wilson_interval
from freesolo.package.audit_facts import Latency, Separation
from freesolo.package.audit_measures import separation_of, shares_as_gold
from freesolo.package.audit_outcomes import Outcome, same_rewards
from freesolo.package.findings import Finding, Severity
from freesolo.package.perturbations import Kind

# Below, wrong answers are as good as gold half of the time, and a group has little to learn from.
BLIND_AUC = 0.75
# Some wrong answers are right by chance: those of one row in ten or fewer prove nothing.
GAMED_SHARE = 0.1
# A variant that most rows take for gold is one that the reward means to take.
_LENIENT_SHARE = 0.5
SLOW_STEP_SECONDS = 60.0
_MAY_NAME_LABELS = frozenset({Kind.PROMPT, Kind.INPUT, Kind.REFUSAL, Kind.LONG})

_QUOTE_CHARS = 60


def verdicts(outcomes: Sequence[Outcome]) -> list[Finding]:
    """Return what is wrong with a reward: its gravest flaw rather than all that follows from it."""
    findings = [*_failures(outcomes), *_strays(outcomes), *_turn_rewards(outcomes)]
    scored = [outcome for outcome in outcomes if outcome.gold_reward is not None]
    if not scored:
        return [*findings, *_indifferent(outcomes)]
    if not any(outcome.credited for outcome in scored):
        return [*findings, _all_zero(scored)]
    if constant := _constant(scored):
        return [*findings, constant]
    findings += _successes(scored)
    # What chance decides says nothing of single answers.
    if not varying_rows(scored):
        findings += [*_some_zero(scored), *_gamed(scored), *_lenient(scored)]
    return findings


def varying_rows(outcomes: Iterable[Outcome]) -> tuple[int, ...]:
    """Return the rows whose gold answer got another reward the second time."""
    return tuple(
        outcome.row
        for outcome in outcomes
        if outcome.first
        and outcome.again
        and not same_rewards([outcome.first.reward], [outcome.again.reward])
    )


def slow(latency: Latency | None) -> Iterator[Finding]:
    """Yield a finding for a reward that a step of GRPO would wait long for."""
    if latency and latency.step_seconds > SLOW_STEP_SECONDS:
        yield _warning(
            "reward_slow",
            f"A GRPO step of {latency.rollouts} rollouts would wait "
            f"{latency.step_seconds:.0f} s for its rewards.",
        )


def dataset_varies(rows: tuple[int, ...]) -> Finding:
    """Return the finding for rows that were others in a fresh process."""
    message = (
        "`load_environment` makes another dataset each time, which a run cannot go on with once the "
        "process was started again; give what it shuffles or draws a seed."
    )
    return _warning("dataset_varies", message, tuple(sorted(rows)))


def stateful(rows: tuple[int, ...]) -> Finding:
    """Return the finding for rewards that were others in a fresh process."""
    message = (
        "The reward depends on what it was asked before, or on the process that it runs in: asked "
        "again in a fresh one, it says something else."
    )
    return _warning("reward_stateful", message, tuple(sorted(rows)))


def varies(rows: tuple[int, ...]) -> Finding:
    """Return the finding for rewards that were others the second time."""
    message = "The same answer got different rewards when it was scored again."
    return _warning("reward_varies", message, tuple(sorted(rows)))


def _failures(outcomes: Sequence[Outcome]) -> Iterator[Finding]:
    for code, raised in (("gold_failed", True), ("gold_unusable", False)):
        failed = [
            (outcome.row, score.error)
            for outcome in outcomes
            for score in (outcome.first, outcome.again)
            if score is not None and score.error and score.raised is raised
        ]
        if failed:
            rows = tuple(dict.fromkeys(row for row, _ in failed))
            error = failed[0][1]
            yield Finding(code, Severity.ERROR, error.message, rows, error.traceback)
    fragile = [
        (outcome.row, tried.answer, tried.score.error)
        for outcome in outcomes
        for tried in outcome.tried
        if tried.score.error and not outcome.gold_failed
    ]
    if fragile:
        rows = tuple(dict.fromkeys(row for row, _, _ in fragile))
        kinds = ", ".join(dict.fromkeys(answer.kind.value for _, answer, _ in fragile))
        _, answer, error = fragile[0]
        message = (
            f"The reward cannot score every text a model may write ({kinds}), such as "
            f"{_quote(answer.text)}: {error.message}"
        )
        yield Finding("wrong_failed", Severity.ERROR, message, rows, error.traceback)


def _strays(outcomes: Sequence[Outcome]) -> Iterator[Finding]:
    strayed = [outcome for outcome in outcomes if outcome.strayed]
    if strayed:
        message = (
            "An episode went another way when the same actions were taken again; the first to "
            f"differ is the {strayed[0].strayed}."
        )
        yield _warning("episode_varies", message, _rows(strayed))


def _turn_rewards(outcomes: Sequence[Outcome]) -> Iterator[Finding]:
    noted = [outcome for outcome in outcomes if outcome.first and outcome.first.note]
    if noted and noted[0].first:
        yield _warning("turn_rewards_unusable", str(noted[0].first.note), _rows(noted))


def _all_zero(scored: Sequence[Outcome]) -> Finding:
    message = "No gold answer gets a positive reward; the reward does not see what is right."
    return Finding("gold_all_zero", Severity.ERROR, message, _rows(scored))


def _some_zero(scored: Sequence[Outcome]) -> Iterator[Finding]:
    zero = [outcome for outcome in scored if not outcome.credited]
    if zero:
        message = f"{len(zero)} of {len(scored)} gold answers get no positive reward."
        yield _warning("gold_some_zero", message, _rows(zero))


def _constant(scored: Sequence[Outcome]) -> Finding | None:
    rewards = [
        reward
        for outcome in scored
        for reward in (*outcome.gold_rewards, *outcome.tried_rewards)
        if reward is not None
    ]
    if not any(outcome.wrong for outcome in scored) or min(rewards) < max(rewards):
        return None
    message = f"The reward is constant: every answer, right or wrong, gets {rewards[0]:g}."
    return Finding("reward_constant", Severity.ERROR, message)


def _indifferent(outcomes: Sequence[Outcome]) -> Iterator[Finding]:
    """Yield a finding if, without any gold answer, each nonsense that says something is as much of
    a success.
    """
    scores = [
        tried.score
        for outcome in outcomes
        for tried in outcome.tried
        if tried.answer.wrong and tried.answer.text.strip()
    ]
    rewards = {score.reward for score in scores if score.success}
    if len(rewards) == 1 and all(score.success for score in scores):
        message = "Nothing that was tried makes sense as an answer, yet all of it succeeds alike."
        yield _warning("reward_constant", message)


def _successes(scored: Sequence[Outcome]) -> Iterator[Finding]:
    failing = [outcome for outcome in scored if outcome.first and outcome.first.success is False]
    failing = [outcome for outcome in failing if outcome.credited]
    if failing:
        message = (
            f"{len(failing)} of {len(scored)} gold answers get a reward but are no success; mend "
            "`success` or `threshold`, which evaluations count by."
        )
        # Without either, no reward of zero or less is a success: that is no slip of the author's.
        slip = any((outcome.gold_reward or 0.0) > 0 for outcome in failing)
        severity = Severity.WARNING if slip else Severity.INFO
        yield Finding("gold_unsuccessful", severity, message, _rows(failing))
    contrary = [outcome for outcome in scored if outcome not in failing and _contrary(outcome)]
    if contrary:
        message = "An answer with a lower reward is a success while a better one is not."
        yield _warning("success_contradicts", message, _rows(contrary))


def _contrary(outcome: Outcome) -> bool:
    scores = [score for score in (outcome.first, *(t.score for t in outcome.tried)) if score]
    won = [score.reward for score in scores if score.success and score.reward is not None]
    lost = [score.reward for score in scores if not score.success and score.reward is not None]
    return bool(won and lost) and min(won) < max(lost)


def _gamed(scored: Sequence[Outcome]) -> Iterator[Finding]:
    credited = [outcome for outcome in scored if outcome.credited]
    gained = [
        (answer.kind, outcome.row, answer.text)
        for outcome in credited
        for answer, reward in outcome.wrong
        if reward >= (outcome.gold_reward or 0.0)
    ]
    separation = separation_of(scored)
    if separation and separation.auc < BLIND_AUC:
        kinds = ", ".join(dict.fromkeys(kind.value for kind, _, _ in gained))
        message = (
            "The reward does not tell right from wrong: gold answers beat wrong ones "
            f"{_spoken(separation)} of the time (0.5 is chance). As good as gold: {kinds}."
        )
        yield _warning("reward_blind", message, _distinct(row for _, row, _ in gained))
        return
    games = [
        (kind, hits, asked)
        for kind, hits, asked in shares_as_gold(credited, wrong=True)
        if wilson_interval(hits, asked)[0] > _chance(kind, credited)
    ]
    if games:
        kinds = ", ".join(f"{kind} ({hits} of {asked})" for kind, hits, asked in games)
        gaming = {kind for kind, _, _ in games}
        hits_of = [(row, text) for kind, row, text in gained if kind in gaming]
        message = (
            f"Wrong answers get as much as the gold answer: {kinds}; such as "
            f"{_quote(hits_of[0][1])} in row {hits_of[0][0]}."
        )
        yield _warning("reward_gamed", message, _distinct(row for row, _ in hits_of))


def _chance(kind: Kind, credited: Sequence[Outcome]) -> float:
    """Return the share of rows in which such an answer may be right without any flaw.

    A reward may take the first label that it finds, in a prompt that names them or in the first
    words of any text ("A" in "This is a"): that is as good as a guess, which is right as often as
    the most frequent label.
    """
    if kind not in _MAY_NAME_LABELS:
        return GAMED_SHARE
    golds = Counter((outcome.gold or "").strip().casefold() for outcome in credited)
    return max(GAMED_SHARE, max(golds.values()) / len(credited))


def _lenient(scored: Sequence[Outcome]) -> Iterator[Finding]:
    credited = [outcome for outcome in scored if outcome.credited]
    kinds = [
        kind.value
        for kind, hits, asked in shares_as_gold(credited, wrong=False)
        if kind in (Kind.TRUNCATED, Kind.SHUFFLED) and hits > _LENIENT_SHARE * asked
    ]
    if kinds:
        message = f"A gold answer is as good when it is {' or '.join(kinds)}; fine if you mean it."
        yield Finding("reward_lenient", Severity.INFO, message)
    others = [
        outcome
        for outcome in credited
        if any(tried.answer.kind is Kind.OTHER_RIGHT for tried in outcome.tried)
    ]
    if others:
        message = (
            f"In {len(others)} of {len(credited)} rows the gold answer of another row is as good; "
            "fine if it is right there too."
        )
        yield Finding("reward_lenient", Severity.INFO, message, _rows(others))


def _spoken(separation: Separation) -> str:
    return f"{separation.auc:.2f} [{separation.low:.2f}, {separation.high:.2f}]"


def _quote(text: str) -> str:
    return repr(text if len(text) <= _QUOTE_CHARS else f"{text[:_QUOTE_CHARS]}...")


def _rows(outcomes: Iterable[Outcome]) -> tuple[int, ...]:
    return tuple(outcome.row for outcome in outcomes)


def _distinct(rows: Iterable[int]) -> tuple[int, ...]:
    return tuple(dict.fromkeys(rows))


def _warning(code: str, message: str, rows: tuple[int, ...] = ()) -> Finding:
    return Finding(code, Severity.WARNING, message, rows)
