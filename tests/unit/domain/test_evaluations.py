"""Summaries and comparisons of what models got."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freesolo.domain.evaluations import CaseResult, Outcome, compare, summarize

PASSED, FAILED, UNSCORABLE, UNANSWERED = Outcome
_SCORES = {PASSED: 1.0, FAILED: 0.0}


def result(index: int, outcome: Outcome, sample: int = 0, score: float | None = None) -> CaseResult:
    score = _SCORES.get(outcome) if score is None else score
    return CaseResult(index, sample, f"case-{index}", "?", "!", "!", outcome, score)


def results(*outcomes: Outcome) -> list[CaseResult]:
    """Return one answer to each case."""
    return [result(index, outcome) for index, outcome in enumerate(outcomes)]


def test_what_was_not_scored_is_neither_right_nor_wrong() -> None:
    suite = summarize("s", results(PASSED, PASSED, FAILED, UNSCORABLE, UNANSWERED))
    assert (suite.total, suite.passed, suite.unscorable, suite.unanswered) == (5, 2, 1, 1)
    assert suite.errors == 2
    assert suite.pass_rate == suite.mean_score == pytest.approx(2 / 3)


def test_nothing_scored_says_nothing() -> None:
    for suite in (summarize("s", []), summarize("s", results(UNSCORABLE))):
        assert [suite.pass_rate, suite.mean_score, suite.mean_interval] == [None] * 3
        assert suite.interval == (0.0, 1.0)


def test_a_pass_is_the_environments_word_and_not_the_score() -> None:
    suite = summarize("s", [result(0, PASSED, score=0.4), result(1, FAILED, score=0.3)])
    assert [suite.pass_rate, suite.mean_score] == [0.5, pytest.approx(0.35)]


def test_of_several_answers_the_case_is_the_unit() -> None:
    answers = [
        *(result(0, PASSED, sample) for sample in range(4)),
        *(result(1, FAILED, sample) for sample in range(3)),
        result(1, PASSED, 3),
        *(result(2, FAILED, sample) for sample in range(4)),
        # One answer is missing: whether it would have passed is not known.
        *(result(3, FAILED, sample) for sample in range(3)),
        result(3, UNANSWERED, 3),
    ]
    suite = summarize("s", answers)
    assert (suite.case_count, suite.samples, suite.total) == (4, 4, 16)
    assert suite.pass_rate == pytest.approx((1 + 1 / 4 + 0 + 0) / 4)
    assert suite.pass_any == pytest.approx(2 / 3)


def test_models_are_compared_on_the_cases_that_both_were_scored_in() -> None:
    first = results(PASSED, PASSED, FAILED, UNSCORABLE, FAILED)
    second = results(PASSED, FAILED, PASSED, PASSED, PASSED)
    found = compare("s", first, second)
    assert found is not None
    assert (found.cases, found.left_out, found.gained, found.lost) == (4, 1, 2, 1)
    assert (found.first, found.second, found.difference) == (0.5, 0.75, 0.25)
    assert found.p_value == 1.0
    assert [(change.index, change.difference) for change in found.changes] == [
        *((1, -1.0), (2, 1.0), (4, 1.0))
    ]


def test_models_without_a_case_in_common_are_not_compared() -> None:
    assert compare("s", results(UNSCORABLE, PASSED), results(PASSED, UNANSWERED)) is None


def test_several_answers_are_compared_by_their_means() -> None:
    first = [result(index, FAILED, sample) for index in range(6) for sample in range(2)]
    second = [result(index, PASSED, sample) for index in range(6) for sample in range(2)]
    found = compare("s", first, second)
    assert found is not None
    assert found.p_value == found.score_p_value == 2 / 2**6


outcomes = st.lists(st.sampled_from(Outcome), min_size=1, max_size=30)


@given(outcomes)
def test_counts_add_up_and_intervals_hold_their_rates(of_cases: list[Outcome]) -> None:
    suite = summarize("s", results(*of_cases))
    failed = of_cases.count(FAILED)
    assert suite.passed + failed + suite.unscorable + suite.unanswered == suite.total
    if suite.pass_rate is not None:
        low, high = suite.interval
        assert low - 1e-9 <= suite.pass_rate <= high + 1e-9


@given(outcomes)
def test_a_model_is_no_better_than_itself(of_cases: list[Outcome]) -> None:
    found = compare("s", results(*of_cases), results(*of_cases))
    if found is not None:
        assert (found.p_value, found.score_p_value, found.changes) == (1.0, 1.0, ())
