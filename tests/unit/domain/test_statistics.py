"""Intervals: against published values, and as laws."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freesolo.domain.statistics import area_under_curve, mean, percentile, wilson_interval


@pytest.mark.parametrize(
    ("successes", "total", "low", "high"),
    [
        (0, 10, 0.0, 0.2775),
        (10, 10, 0.7225, 1.0),
        (5, 10, 0.2366, 0.7634),
        (81, 263, 0.2553, 0.3662),
    ],
)
def test_the_interval_agrees_with_published_values(
    successes: int, total: int, low: float, high: float
) -> None:
    assert wilson_interval(successes, total) == pytest.approx((low, high), abs=1e-4)


@given(total=st.integers(1, 10_000), data=st.data())
def test_the_interval_holds_the_share_and_stays_in_range(total: int, data: st.DataObject) -> None:
    successes = data.draw(st.integers(0, total))
    low, high = wilson_interval(successes, total)
    assert 0 <= low <= successes / total + 1e-12
    assert successes / total - 1e-12 <= high <= 1


def test_nothing_tried_says_nothing() -> None:
    assert wilson_interval(0, 0) == (0.0, 1.0)
    assert mean([]) == 0.0


@pytest.mark.parametrize(
    ("better", "worse", "area"),
    [
        ([1.0], [0.0], 1.0),
        ([0.0], [1.0], 0.0),
        ([1.0, 1.0], [1.0, 1.0, 1.0], 0.5),
        # Counted by hand: of 12 pairs 9 are won and 2 tied.
        ([3.0, 4.0, 2.0], [1.0, 2.0, 3.0, 0.0], 10 / 12),
    ],
)
def test_the_area_is_the_share_of_pairs_won(
    better: list[float], worse: list[float], area: float
) -> None:
    assert area_under_curve(better, worse) == pytest.approx(area)


rewards = st.lists(st.integers(-3, 3).map(float), min_size=1, max_size=20)


@given(better=rewards, worse=rewards)
def test_the_area_agrees_with_counting_every_pair(better: list[float], worse: list[float]) -> None:
    won = [(high > low) + (high == low) / 2 for high in better for low in worse]
    assert area_under_curve(better, worse) == pytest.approx(mean(won))
    assert area_under_curve(worse, better) == pytest.approx(1 - mean(won))


def test_a_mean_of_shares_has_an_interval_too() -> None:
    low, high = wilson_interval(sum([0.9] * 50), 50)
    assert 0.78 < low < 0.9 < high < 0.96


def test_percentiles_lie_between_the_values() -> None:
    values = [4.0, 1.0, 3.0, 2.0, 5.0]
    assert percentile(values, 0.0) == 1.0
    assert percentile(values, 0.5) == 3.0
    assert percentile(values, 0.99) == pytest.approx(4.96)
    assert percentile(values, 1.0) == 5.0
    assert percentile([7.0], 0.99) == 7.0
