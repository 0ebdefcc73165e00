"""What can be measured of a reward by what it said.

Everything is measured within rows: GRPO compares the answers to one question, so a reward may well
give more to one row than to another.
"""

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence

from freesolo.domain.statistics import area_under_curve, mean, percentile, wilson_interval
from freesolo.package.audit_facts import (
    AuditFacts,
    KindFacts,
    Latency,
    ScoredAnswer,
    Separation,
)
from freesolo.package.audit_outcomes import Outcome
from freesolo.package.perturbations import Kind

# Answers of one group, by the default of a GRPO step.
GROUP = 8
_WORST = 5
_TEXT_CHARS = 200


def facts_of(outcomes: Sequence[Outcome], *, labelled: int, latency: Latency | None) -> AuditFacts:
    """Return what was measured on `outcomes`, out of `labelled` rows."""
    return AuditFacts(
        rows=len(outcomes),
        labelled=labelled,
        separation=separation_of(outcomes),
        kinds=tuple(_kinds(outcomes)),
        latency=latency,
        worst=tuple(_worst(outcomes)),
    )


def latency_of(
    outcomes: Sequence[Outcome], groups: Sequence[float], *, rollouts: int
) -> Latency | None:
    """Return how long the author's code takes, None if nothing was scored.

    One answer is timed where it was scored alone. A step scores its answers in groups, of which each
    took one of the seconds in `groups`; without any, its answers are reckoned one after the other.
    """
    alone = [
        score.seconds
        for outcome in outcomes
        for score in (outcome.first, outcome.again)
        if score is not None and score.error is None
    ]
    if not alone:
        return None
    return Latency(
        p50=percentile(alone, 0.5),
        p99=percentile(alone, 0.99),
        rollouts=rollouts,
        step_seconds=rollouts * (mean(groups) / GROUP if groups else mean(alone)),
    )


def separation_of(outcomes: Sequence[Outcome]) -> Separation | None:
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


def shares_as_gold(outcomes: Sequence[Outcome], *, wrong: bool) -> Iterator[tuple[Kind, int, int]]:
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
