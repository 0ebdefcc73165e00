"""What a model got in a suite: what became of each answer, their summary, and two models compared."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum

from freesolo.domain.statistics import (
    mcnemar_p,
    mean,
    mean_interval,
    paired_difference_interval,
    sign_flip_p,
    wilson_interval,
)

Interval = tuple[float, float]


class Outcome(StrEnum):
    """What became of one question to a model.

    Only `passed` and `failed` are about what it said: `unscorable` is the environment's failure to
    grade an answer, `unanswered` means that there was none.
    """

    PASSED = "passed"
    FAILED = "failed"
    UNSCORABLE = "unscorable"
    UNANSWERED = "unanswered"


@dataclass(frozen=True)
class CaseResult:
    """One answer to the case at `index` of a suite, the `sample`-th from 0, and what it was worth.

    `error` says why there is no `score`.
    """

    index: int
    sample: int
    id: str
    prompt: str
    expected: str | None
    answer: str | None
    outcome: Outcome
    score: float | None = None
    error: str | None = None

    @property
    def passed(self) -> bool:
        """Whether the answer was scored, and right."""
        return self.outcome is Outcome.PASSED


@dataclass(frozen=True)
class SuiteSummary:
    """What a model got in one suite. Intervals are at 95 %.

    Rates and means are over the answers that were scored; what was not is counted apart, and in
    `total`. Where each case was answered several times, the case is the unit: `pass_rate` is the
    mean over cases of the share that passed, and `pass_any` the share of cases that any answer
    passed, among those all of whose answers were scored (pass@k, for k answers to each).
    """

    name: str
    case_count: int
    samples: int
    total: int
    passed: int
    unscorable: int
    unanswered: int
    pass_rate: float | None
    interval: Interval
    mean_score: float | None
    mean_interval: Interval | None
    pass_any: float | None
    pass_any_interval: Interval

    @property
    def errors(self) -> int:
        """How many answers have no score."""
        return self.unscorable + self.unanswered


def summarize(name: str, results: Collection[CaseResult]) -> SuiteSummary:
    """Return the summary of a suite's results."""
    outcomes = [result.outcome for result in results]
    samples = 1 + max((result.sample for result in results), default=0)
    scored = _scored_cases(results)
    shares = [_pass_share(answers) for answers in scored.values()]
    scores = [_mean_score(answers) for answers in scored.values()]
    whole = [any(of.passed for of in each) for each in scored.values() if len(each) == samples]
    return SuiteSummary(
        name=name,
        case_count=len({result.index for result in results}),
        samples=samples,
        total=len(results),
        passed=outcomes.count(Outcome.PASSED),
        unscorable=outcomes.count(Outcome.UNSCORABLE),
        unanswered=outcomes.count(Outcome.UNANSWERED),
        pass_rate=mean(shares) if shares else None,
        # Shares are no further apart than yes and no, of which the interval was made.
        interval=wilson_interval(sum(shares), len(shares)),
        mean_score=mean(scores) if scores else None,
        mean_interval=mean_interval(scores),
        pass_any=mean(whole) if whole else None,
        pass_any_interval=wilson_interval(sum(whole), len(whole)),
    )


@dataclass(frozen=True)
class Change:
    """A case in which the second model passed more often than the first, or less."""

    index: int
    first: CaseResult
    second: CaseResult
    difference: float


@dataclass(frozen=True)
class Comparison:
    """Two models on the same cases of a suite. Differences are the second's less the first's.

    `cases` were scored for both; `left_out` were not. `gained` and `lost` count the cases in which
    the second passed more often and less often. Intervals are at 95 %, p-values two-sided.
    """

    name: str
    cases: int
    left_out: int
    first: float
    second: float
    difference: float
    interval: Interval | None
    p_value: float
    first_score: float
    second_score: float
    score_difference: float
    score_interval: Interval | None
    score_p_value: float
    gained: int
    lost: int
    changes: tuple[Change, ...]


def compare(
    name: str, first: Collection[CaseResult], second: Collection[CaseResult]
) -> Comparison | None:
    """Compare two models case by case; None if no case was scored for both.

    Passes are compared by McNemar's exact test where each case was answered once, as scores are by
    flipping signs; where it was answered several times, by the means of its answers.
    """
    one, other = _scored_cases(first), _scored_cases(second)
    shared = sorted(one.keys() & other.keys())
    if not shared:
        return None
    pairs = [(one[index], other[index]) for index in shared]
    passes = [_pass_share(after) - _pass_share(before) for before, after in pairs]
    scores = [_mean_score(after) - _mean_score(before) for before, after in pairs]
    gained, lost = sum(by > 0 for by in passes), sum(by < 0 for by in passes)
    once = all(len(before) == len(after) == 1 for before, after in pairs)
    asked = {result.index for result in (*first, *second)}
    return Comparison(
        name=name,
        cases=len(shared),
        left_out=len(asked) - len(shared),
        first=mean([_pass_share(before) for before, _ in pairs]),
        second=mean([_pass_share(after) for _, after in pairs]),
        difference=mean(passes),
        interval=paired_difference_interval(lost, gained, len(shared))
        if once
        else mean_interval(passes),
        p_value=mcnemar_p(lost, gained) if once else sign_flip_p(passes),
        first_score=mean([_mean_score(before) for before, _ in pairs]),
        second_score=mean([_mean_score(after) for _, after in pairs]),
        score_difference=mean(scores),
        score_interval=mean_interval(scores),
        score_p_value=sign_flip_p(scores),
        gained=gained,
        lost=lost,
        changes=tuple(
            Change(index, before[0], after[0], by)
            for index, (before, after), by in zip(shared, pairs, passes, strict=True)
            if by
        ),
    )


def _scored_cases(results: Collection[CaseResult]) -> dict[int, list[CaseResult]]:
    """Return the answers that have a score, by the index of their case."""
    scored: defaultdict[int, list[CaseResult]] = defaultdict(list)
    for result in results:
        if result.score is not None:
            scored[result.index].append(result)
    return dict(scored)


def _pass_share(answers: Sequence[CaseResult]) -> float:
    return mean([answer.passed for answer in answers])


def _mean_score(answers: Sequence[CaseResult]) -> float:
    return mean([answer.score for answer in answers if answer.score is not None])
