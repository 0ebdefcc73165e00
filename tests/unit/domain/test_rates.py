"""What is left of a limit."""

from hypothesis import given
from hypothesis import strategies as st

from freesolo.domain.rates import UNLIMITED, Bucket, KeyLimits


def test_a_bucket_fills_evenly_and_no_further_than_a_minute_s_worth() -> None:
    empty = Bucket.full(60, now=0.0).less(60)
    assert empty.level == 0
    assert empty.later(1.0, per_minute=60).level == 1
    assert empty.later(30.0, per_minute=60).level == 30
    assert empty.later(1000.0, per_minute=60).level == 60


def test_what_is_owed_has_to_fill_up_first() -> None:
    owing = Bucket.full(60, now=0.0).less(90)
    assert owing.seconds_until(1) == 31
    assert Bucket.full(60, now=0.0).seconds_until(1) == 0


def test_a_limit_that_was_lowered_holds_at_once() -> None:
    assert Bucket.full(60, now=0.0).later(0.0, per_minute=10).level == 10


@given(
    st.lists(
        st.tuples(st.floats(0, 100), st.integers(0, 50)),
        max_size=50,
    )
)
def test_never_more_is_given_than_a_minute_s_worth_and_what_filled_up(
    takes: list[tuple[float, int]],
) -> None:
    bucket, now, taken = Bucket.full(100, now=0.0), 0.0, 0
    for pause, amount in takes:
        now += pause
        bucket = bucket.later(now, per_minute=100)
        if bucket.level >= amount:
            bucket, taken = bucket.less(amount), taken + amount
    assert taken <= 100 + now * 100 / 60 + 1e-6


def test_limits_hold_within_others() -> None:
    hub = KeyLimits(requests_per_minute=10)
    assert KeyLimits().within(hub) == hub
    assert KeyLimits(requests_per_minute=5).within(hub).requests_per_minute == 5
    more = KeyLimits(requests_per_minute=50, tokens_per_minute=7)
    assert more.within(hub) == KeyLimits(requests_per_minute=10, tokens_per_minute=7)


def test_limits_are_filled_from_others_and_compared_with_them() -> None:
    mine = KeyLimits(requests_per_minute=5)
    hub = KeyLimits(requests_per_minute=9, tokens_per_minute=100)
    assert mine.or_else(hub) == KeyLimits(requests_per_minute=5, tokens_per_minute=100)
    assert mine.exceed(hub)
    assert not mine.or_else(hub).exceed(hub)
    assert not UNLIMITED.exceed(UNLIMITED)
    assert UNLIMITED.exceed(mine)
