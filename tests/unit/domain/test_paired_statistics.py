"""Means, and two models on the same questions: against published values, and as laws."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freesolo.domain.statistics import (
    mcnemar_p,
    mean_interval,
    paired_difference_interval,
    sign_flip_p,
    student_quantile,
)

# Eighths of an inch between pairs of Darwin's maize (Fisher, The Design of Experiments, 1935).
DARWIN = [49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48]

scores = st.lists(st.floats(-1, 1, allow_subnormal=False), max_size=8)


@pytest.mark.parametrize(
    ("degrees", "t"),
    [(1, 12.7062), (2, 4.3027), (3, 3.1824), (10, 2.2281), (120, 1.9799), (1000, 1.9623)],
)
def test_quantiles_are_those_of_the_tables(degrees: int, t: float) -> None:
    assert student_quantile(degrees, 0.95) == pytest.approx(t, abs=1e-4)


def test_the_interval_of_a_mean_is_students() -> None:
    assert mean_interval(DARWIN) == pytest.approx((0.031, 41.835), abs=1e-3)


@pytest.mark.parametrize("values", [[], [1.0], [1.0, 1.0, 1.0]])
def test_values_that_are_alike_say_nothing_of_how_far_others_lie(values: list[float]) -> None:
    assert mean_interval(values) is None


def test_two_shares_differ_as_in_the_published_example() -> None:
    # Airway hyper-responsiveness before and after a transplant (Fagerland, Lydersen and Laake, 2014).
    assert mcnemar_p(1, 7) == pytest.approx(0.0703, abs=1e-4)
    assert paired_difference_interval(7, 1, 21) == pytest.approx((-0.508, -0.013), abs=1e-3)


def test_two_means_differ_as_fisher_found() -> None:
    assert sign_flip_p(DARWIN) == pytest.approx(1726 / 32768)


def test_drawn_signs_come_close_to_all_of_them() -> None:
    tied = [1.0] * 14 + [-1.0] * 6
    assert sign_flip_p(tied) == pytest.approx(mcnemar_p(14, 6), abs=0.01)


@given(st.integers(0, 500), st.integers(0, 500))
def test_it_does_not_matter_which_model_is_first(first: int, second: int) -> None:
    assert 0 < mcnemar_p(first, second) == mcnemar_p(second, first) <= 1


@given(scores)
def test_signs_turned_all_over_say_the_same(differences: list[float]) -> None:
    turned = [-difference for difference in differences]
    assert 0 < sign_flip_p(differences) == sign_flip_p(turned) <= 1


@given(st.integers(0, 50), st.integers(0, 50), st.integers(0, 500))
def test_the_interval_of_a_difference_holds_it(first: int, second: int, agreed: int) -> None:
    total = first + second + agreed
    low, high = paired_difference_interval(first, second, total)
    assert -1 <= low <= high <= 1
    if total:
        # It leans toward no difference, which is its strength in small samples.
        assert low <= (second - first) / (total + 2) <= high


def test_two_models_that_agree_everywhere_are_alike() -> None:
    assert mcnemar_p(0, 0) == sign_flip_p([]) == sign_flip_p([0.0, 0.0]) == 1.0
