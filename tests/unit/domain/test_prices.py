"""What tokens cost."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from freesolo.domain.catalog import MOST_PRICE, SMOLLM2_135M
from freesolo.domain.prices import MOST, Asked, Prices, cost, dollars, from_dollars, most, prices_of
from freesolo.errors import InvalidInput


@dataclass(frozen=True)
class Used:
    """Tokens of one request."""

    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int


PRICES = Prices(prompt=3, cached=1, completion=10)


def test_cached_tokens_have_a_price_of_their_own() -> None:
    assert cost(PRICES, Used(10, 4, 5)) == 6 * 3 + 4 * 1 + 5 * 10


def test_without_one_they_cost_what_others_do() -> None:
    assert prices_of(SMOLLM2_135M).cached == SMOLLM2_135M.price_input
    cheaper = SMOLLM2_135M.model_copy(update={"price_cached": 0})
    assert prices_of(cheaper).cached == 0


@given(text=st.text(max_size=200), cached=st.floats(0, 1), said=st.integers(0, 50))
def test_no_request_costs_more_than_was_held_for_it(text: str, cached: float, said: int) -> None:
    size = len(text.encode())
    read = size + 5
    used = Used(read, int(cached * read), said)
    assert cost(PRICES, used) <= most(PRICES, Asked(size, 1, 1, 50))


@pytest.mark.parametrize(
    ("amount", "text"), [(0, "0"), (12_500_000_000_000, "12.5"), (-24, "-0.000000000024")]
)
def test_amounts_are_written_as_dollars_and_read_back(amount: int, text: str) -> None:
    assert dollars(amount) == text
    assert from_dollars(text) == amount


def test_no_request_costs_more_than_can_be_kept() -> None:
    # The longest context of a catalog, the most answers and the largest body of a request.
    longest = 10**8
    dearest = Prices(prompt=MOST_PRICE, cached=MOST_PRICE, completion=MOST_PRICE)
    assert most(dearest, Asked(8 * 1024**2, 1000, 32, longest)) <= MOST
    with pytest.raises(ValidationError):
        Prices(prompt=MOST_PRICE + 1, cached=0, completion=0)


@pytest.mark.parametrize(
    "text", ["", "ten", "nan", "inf", "1e30", "1e999999", "4000000.1", "0.0000000000001"]
)
def test_what_is_no_amount_is_refused_by_name(text: str) -> None:
    with pytest.raises(InvalidInput, match="dollars"):
        from_dollars(text)
