"""What a reward's scores say about it. Pure: the scores are asked for elsewhere.

Only surely wrong answers count against a reward, and only within their own row: GRPO compares the
answers to one question, so a reward may well give more to one row than to another.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from freesolo.domain.statistics import area_under_curve, mean, percentile, wilson_interval
from freesolo.package.audit_facts import (
    AuditFacts,
    KindFacts,
    Latency,
    ScoredAnswer,
    Separation,
)
from freesolo.package.findings import Finding, Severity
from freesolo.package.perturbations import Kind, Perturbation
from freesolo.runtime.values import Score

# Below, wrong answers are as good as gold half of the time, and a group has little to learn from.
BLIND_AUC = 0.75
# Some wrong answers are right by chance: those of one row in ten or fewer prove nothing.
GAMED_SHARE = 0.1
# A variant that most rows take for gold is one that the reward means to take.
_LENIENT_SHARE = 0.5
SLOW_STEP_SECONDS = 60.0

_WORST = 5
_TEXT_CHARS = 200
_QUOTE_CHARS = 60


@dataclass(frozen=True)
class Tried:
    """An answer other than the gold one, and its score."""

    answer: Perturbation
    score: Score


@dataclass(frozen=True)
class Outcome:
    """What the reward said about one row: of its gold answer, twice, and of other answers.

    `gold`, `first` and `again` are None where a row has no gold answer; `again` also after a
    failure. `strayed` says what of an episode was another when its actions were taken again.
    """

    row: int
    gold: str | None
    first: Score | None
    again: Score | None
    tried: Sequence[Tried]
    strayed: str | None = None

    @property
    def rewards(self) -> list[float | None]:
        """Every reward, in the order in which they were asked for."""
        scores = [self.first, self.again, *(tried.score for tried in self.tried)]
        return [score.reward for score in scores if score is not None]

    @property
    def gold_reward(self) -> float | None:
        """The reward of the gold answer, None if there is none."""
        return self.first.reward if self.first else None

    @property
    def gold_failed(self) -> bool:
        """Whether the gold answer could not be scored."""
        return self.first is not None and self.first.error is not None

    @property
    def gold_wins(self) -> bool:
        """Whether the gold answer got more than some wrong one."""
        gold = self.gold_reward
        return gold is not None and any(gold > reward for _, reward in self.wrong)

    @property
    def wrong(self) -> list[tuple[Perturbation, float]]:
        """The surely wrong answers that could be scored."""
        return [
            (tried.answer, tried.score.reward)
            for tried in self.tried
            if tried.answer.wrong and tried.score.reward is not None
        ]

    @property
    def credited(self) -> bool:
        """Whether the gold answer got something: a reward, a success, or more than all others."""
        if self.first is None or self.first.reward is None:
            return False
        beats = bool(self.wrong) and all(self.first.reward > reward for _, reward in self.wrong)
        return self.first.reward > 0 or bool(self.first.success) or beats


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
    findings += [*_some_zero(scored), *_successes(scored)]
    if not varying_rows(scored):
        findings += [*_gamed(scored), *_lenient(scored)]
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


def same_rewards(first: Sequence[float | None], second: Sequence[float | None]) -> bool:
    """Say whether two series of rewards are the same but for rounding."""
    if len(first) != len(second):
        return False
    return all(
        one == other
        if one is None or other is None
        else math.isclose(one, other, rel_tol=1e-6, abs_tol=1e-9)
        for one, other in zip(first, second, strict=True)
    )


def facts_of(outcomes: Sequence[Outcome], *, labelled: int, latency: Latency | None) -> AuditFacts:
    """Return what was measured on `outcomes`, out of `labelled` rows."""
    return AuditFacts(
        rows=len(outcomes),
        labelled=labelled,
        separation=_separation(outcomes),
        kinds=tuple(_kinds(outcomes)),
        latency=latency,
        worst=tuple(_worst(outcomes)),
    )


def latency_of(outcomes: Sequence[Outcome], *, rollouts: int) -> Latency | None:
    """Return how long the author's code takes, None if nothing was scored.

    One answer is timed where it was scored alone. A step scores its answers together, as all
    perturbed ones but the first were.
    """
    alone = [
        score.seconds
        for outcome in outcomes
        for score in (outcome.first, outcome.again)
        if score is not None and score.error is None
    ]
    if not alone:
        return None
    together = [
        outcome.tried[-1].score.seconds / (len(outcome.tried) - 1)
        for outcome in outcomes
        if len(outcome.tried) > 1 and not any(tried.score.error for tried in outcome.tried)
    ]
    return Latency(
        p50=percentile(alone, 0.5),
        p99=percentile(alone, 0.99),
        rollouts=rollouts,
        step_seconds=rollouts * mean(together or alone),
    )


def slow(latency: Latency | None) -> Iterator[Finding]:
    """Yield a finding for a reward that a step of GRPO would wait long for."""
    if latency and latency.step_seconds > SLOW_STEP_SECONDS:
        yield _warning(
            "reward_slow",
            f"A GRPO step of {latency.rollouts} rollouts would wait "
            f"{latency.step_seconds:.0f} s for its rewards.",
        )


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
        message = f"`per_turn_rewards` are left aside: {noted[0].first.note}"
        yield _warning("turn_rewards_unusable", message, _rows(noted))


def _all_zero(scored: Sequence[Outcome]) -> Finding:
    message = "No gold answer gets a positive reward; the reward does not see what is right."
    return Finding("gold_all_zero", Severity.ERROR, message, _rows(scored))


def _some_zero(scored: Sequence[Outcome]) -> Iterator[Finding]:
    zero = [outcome for outcome in scored if not outcome.credited]
    if zero:
        message = f"{len(zero)} of {len(scored)} gold answers get no positive reward."
        yield _warning("gold_some_zero", message, _rows(zero))


def _constant(scored: Sequence[Outcome]) -> Finding | None:
    rewards = [reward for outcome in scored for reward in outcome.rewards if reward is not None]
    if not any(outcome.wrong for outcome in scored) or min(rewards) < max(rewards):
        return None
    message = f"The reward is constant: every answer, right or wrong, gets {rewards[0]:g}."
    return Finding("reward_constant", Severity.ERROR, message)


def _indifferent(outcomes: Sequence[Outcome]) -> Iterator[Finding]:
    """Yield a finding if, without any gold answer, each nonsense is as much of a success."""
    scores = [tried.score for outcome in outcomes for tried in outcome.tried]
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
        yield _warning("gold_unsuccessful", message, _rows(failing))
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
    separation = _separation(scored)
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
        for kind, hits, asked in _shares(credited, wrong=True)
        if wilson_interval(hits, asked)[0] > GAMED_SHARE
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


def _lenient(scored: Sequence[Outcome]) -> Iterator[Finding]:
    credited = [outcome for outcome in scored if outcome.credited]
    kinds = [
        kind.value
        for kind, hits, asked in _shares(credited, wrong=False)
        if kind in (Kind.TRUNCATED, Kind.SHUFFLED) and hits > _LENIENT_SHARE * asked
    ]
    if kinds:
        message = f"A gold answer is as good when it is {' or '.join(kinds)}; fine if you mean it."
        yield Finding("reward_lenient", Severity.INFO, message)


def _shares(outcomes: Sequence[Outcome], *, wrong: bool) -> Iterator[tuple[Kind, int, int]]:
    """Yield, of each kind, how many answers got at least the gold reward, and how many there are.

    A row counts once for a kind, by the best of its answers.
    """
    best: dict[Kind, dict[int, bool]] = defaultdict(dict)
    for outcome in outcomes:
        for tried in outcome.tried:
            reward, kind = tried.score.reward, tried.answer.kind
            if tried.answer.wrong is wrong and reward is not None:
                hit = reward >= (outcome.gold_reward or 0.0)
                best[kind][outcome.row] = hit or best[kind].get(outcome.row, False)
    for kind, hits in best.items():
        yield kind, sum(hits.values()), len(hits)


def _separation(outcomes: Sequence[Outcome]) -> Separation | None:
    """Return how well gold and wrong answers are apart, over the rows whose gold answer counts.

    The row is what was drawn, not the answer: the interval is that of the mean of the rows' areas.
    """
    areas = [
        area_under_curve([outcome.gold_reward or 0.0], [reward for _, reward in outcome.wrong])
        for outcome in outcomes
        if outcome.credited and outcome.wrong
    ]
    if not areas:
        return None
    low, high = wilson_interval(math.fsum(areas), len(areas))
    return Separation(mean(areas), low, high)


def _kinds(outcomes: Sequence[Outcome]) -> Iterator[KindFacts]:
    golds = [outcome.gold_reward for outcome in outcomes if outcome.gold_reward is not None]
    if golds:
        yield KindFacts(Kind.GOLD, False, len(golds), mean(golds), 1.0)
    rewards: dict[tuple[Kind, bool], list[tuple[float, float | None]]] = defaultdict(list)
    for outcome in outcomes:
        for tried in outcome.tried:
            if tried.score.reward is not None:
                key = (tried.answer.kind, tried.answer.wrong)
                rewards[key].append((tried.score.reward, outcome.gold_reward))
    for (kind, wrong), pairs in sorted(rewards.items(), key=lambda item: not item[0][1]):
        as_gold = [float(gold is not None and reward >= gold) for reward, gold in pairs]
        yield KindFacts(
            kind, wrong, len(pairs), mean([reward for reward, _ in pairs]), mean(as_gold)
        )


def _worst(outcomes: Sequence[Outcome]) -> list[ScoredAnswer]:
    answers = [
        ScoredAnswer(
            outcome.row,
            answer.kind,
            answer.text[:_TEXT_CHARS],
            reward,
            (outcome.gold or "")[:_TEXT_CHARS],
            outcome.gold_reward or 0.0,
        )
        for outcome in outcomes
        if outcome.credited
        for answer, reward in outcome.wrong
        if reward >= (outcome.gold_reward or 0.0)
    ]
    return sorted(answers, key=lambda answer: answer.gold_reward - answer.reward)[:_WORST]


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
