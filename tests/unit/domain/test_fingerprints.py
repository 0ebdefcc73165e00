"""How far two beginnings of an answer are apart."""

import math

import pytest
from pydantic import ValidationError

from freesolo.domain.fingerprints import Fingerprint, Place, distance

YES, NO, PERHAPS = 1, 2, 3


def place(said: int, likeliest: dict[int, float]) -> Place:
    return Place(said=said, likeliest=likeliest)


SURE = place(YES, {YES: math.log(0.9), NO: math.log(0.1)})
UNSURE = place(YES, {YES: math.log(0.6), NO: math.log(0.4)})
CONTRARY = place(NO, {YES: math.log(0.1), NO: math.log(0.9)})
# A tie may be broken either way.
TIE = {YES: math.log(0.5), NO: math.log(0.5)}


def test_an_answer_is_no_way_from_itself() -> None:
    assert distance([SURE, UNSURE], [SURE, UNSURE]) == 0


def test_the_likelier_a_token_the_more_its_difference_counts() -> None:
    likely, unlikely = SURE.likeliest.values()
    assert distance([SURE], [place(YES, {YES: likely - 0.1, NO: unlikely})]) == pytest.approx(0.09)
    assert distance([SURE], [place(YES, {YES: likely, NO: unlikely - 0.1})]) == pytest.approx(0.01)


def test_places_count_alike() -> None:
    far = distance([SURE], [UNSURE])
    assert distance([SURE, SURE], [SURE, UNSURE]) == pytest.approx(far / 2)


def test_behind_a_place_where_they_say_different_tokens_nothing_is_compared() -> None:
    apart = distance([SURE], [CONTRARY])
    assert distance([SURE, SURE], [CONTRARY, SURE]) == apart


def test_a_tie_that_was_broken_the_other_way_is_no_distance() -> None:
    assert distance([place(YES, TIE), SURE], [place(NO, TIE), CONTRARY]) == 0


def test_an_answer_that_ended_early_is_compared_as_far_as_it_goes() -> None:
    assert distance([SURE, UNSURE], [SURE]) == 0


@pytest.mark.parametrize(("least", "gap"), [(0.05, 0.1 * math.log(2)), (0.2, 0.0)])
def test_a_token_that_is_not_told_is_at_most_as_likely_as_the_least_likely_that_is(
    least: float, gap: float
) -> None:
    told = {YES: SURE.likeliest[YES], PERHAPS: math.log(least)}
    assert distance([SURE], [place(YES, told)]) == pytest.approx(gap)


@pytest.mark.parametrize(
    "likeliest", [{}, {"1": float("nan")}, {"x": -1.0}, {str(token): -1.0 for token in range(101)}]
)
def test_what_is_no_fingerprint_is_refused(likeliest: object) -> None:
    answer = {"question": "?", "places": [{"said": 1, "likeliest": likeliest}]}
    with pytest.raises(ValidationError):
        Fingerprint.model_validate({"thinking": False, "answers": [answer]})
