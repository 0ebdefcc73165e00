"""What the gateway takes on."""

import pytest

from freesolo.domain.catalog import SMOLLM2_135M
from freesolo.domain.prices import prices_of
from freesolo.domain.rates import KeyLimits
from freesolo.errors import EngineUnavailable, RateLimitExceeded
from freesolo.schemas.deployments import Target
from serving_backend.limits import InFlight, KeyRates


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def _target(key: str = "k", **limits: int) -> Target:
    return Target(
        org="acme",
        key_id=key,
        model="m",
        prices=prices_of(SMOLLM2_135M),
        base_model=SMOLLM2_135M,
        limits=KeyLimits(**limits),
    )


def test_requests_are_let_in_as_the_minute_goes_by() -> None:
    clock = Clock()
    rates, target = KeyRates(clock), _target(requests_per_minute=60)
    for _ in range(60):
        rates.take_request(target)
    with pytest.raises(RateLimitExceeded) as refused:
        rates.take_request(target)
    assert refused.value.retry_after == 1.0
    rates.take_request(_target("another", requests_per_minute=60))
    clock.now += 1.0
    rates.take_request(target)
    with pytest.raises(RateLimitExceeded):
        rates.take_request(target)


def test_a_key_that_owes_tokens_waits_until_they_have_filled_up() -> None:
    clock = Clock()
    rates, target = KeyRates(clock), _target(tokens_per_minute=60)
    rates.take_request(target)
    rates.take_request(target)
    rates.take_tokens(target, 90)
    with pytest.raises(RateLimitExceeded) as refused:
        rates.take_request(target)
    assert refused.value.retry_after == 30.0
    clock.now += 31.0
    rates.take_request(target)
    assert rates.headers(target) == {
        "x-ratelimit-limit-tokens": "60",
        "x-ratelimit-remaining-tokens": "1",
        "x-ratelimit-reset-tokens": "59.000s",
    }


def test_a_request_that_has_to_wait_for_tokens_takes_no_request() -> None:
    rates, target = KeyRates(Clock()), _target(requests_per_minute=5, tokens_per_minute=10)
    rates.take_tokens(target, 10)
    with pytest.raises(RateLimitExceeded):
        rates.take_request(target)
    assert rates.headers(target)["x-ratelimit-remaining-requests"] == "5"


def test_a_key_without_limits_is_not_counted() -> None:
    rates, target = KeyRates(Clock()), _target()
    for _ in range(1000):
        rates.take_request(target)
    rates.take_tokens(target, 10**9)
    assert rates.headers(target) == {}


def test_keys_that_owe_nothing_are_forgotten() -> None:
    clock = Clock()
    rates = KeyRates(clock)
    for number in range(10_100):
        rates.take_request(_target(str(number), requests_per_minute=600))
    clock.now += 60.0
    rates.take_request(_target("last", requests_per_minute=600))
    assert len(rates._buckets) == 1


def test_room_is_taken_by_prompts_and_made_once() -> None:
    in_flight = InFlight(most=3, most_of_org=2)
    place = in_flight.enter("engine", "acme", prompts=2, engines=1)
    with pytest.raises(RateLimitExceeded):
        in_flight.enter("engine", "acme", prompts=1, engines=1)
    in_flight.enter("engine", "other", prompts=1, engines=1)
    with pytest.raises(EngineUnavailable):
        in_flight.enter("engine", "third", prompts=1, engines=1)
    in_flight.enter("another engine", "acme", prompts=2, engines=1)
    place.leave()
    place.leave()
    assert in_flight.count() == 3
    in_flight.enter("engine", "acme", prompts=2, engines=1)
