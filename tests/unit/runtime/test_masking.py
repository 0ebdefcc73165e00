import json
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freesolo.runtime.masking import MASK, mask, mask_all

SECRET = 'sk-"a b/c\\d+é'
KEY = "-----BEGIN KEY-----\nbase64/base64+\nmore/of/it==\n-----END KEY-----\n"


@pytest.mark.parametrize(
    "form",
    [SECRET, json.dumps(SECRET)[1:-1], repr(SECRET)[1:-1], quote(SECRET), quote_plus(SECRET)],
)
def test_a_secret_is_masked_however_it_is_escaped(form: str) -> None:
    assert mask(f"asked with <{form}>, twice <{form}>", [SECRET]) == (
        f"asked with <{MASK}>, twice <{MASK}>"
    )


def test_each_line_of_a_secret_is_masked_where_it_stands_alone() -> None:
    text = mask("  File x\n    more/of/it==\nbase64/base64+", [KEY])

    assert text == f"  File x\n    {MASK}\n{MASK}"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("3456-7890 was the key", f"{MASK} was the key"),
        ("the key was abcd-345", f"the key was {MASK}"),
        ("the key was abcd", "the key was abcd"),
    ],
)
def test_what_a_cut_left_of_a_secret_is_masked(text: str, masked: str) -> None:
    assert mask(text, ["abcd-3456-7890"]) == masked


def test_a_longer_secret_goes_before_one_that_is_part_of_it() -> None:
    assert mask("token-and-more", ["token", "token-and-more"]) == MASK


@pytest.mark.parametrize("secret", ["", "1", "no\n"])
def test_a_secret_that_is_too_short_to_be_one_is_left(secret: str) -> None:
    assert mask("1 is no secret", [secret]) == "1 is no secret"


def test_a_secret_that_is_no_text_is_masked_all_the_same() -> None:
    assert mask("key \udcff\udcfe\udcfd\udcfc!", ["\udcff\udcfe\udcfd\udcfc"]) == f"key {MASK}!"


def test_every_text_of_a_value_is_masked() -> None:
    value = {"a": ["token", 1, None, {"token": "the token"}], "b": 0.5}

    assert mask_all(value, ["token"]) == {"a": [MASK, 1, None, {MASK: f"the {MASK}"}], "b": 0.5}
    assert mask_all(value, []) is value


@given(st.text(max_size=50), st.text(max_size=50), st.text("abc-/ \n", min_size=4, max_size=12))
def test_no_secret_is_ever_left(before: str, after: str, secret: str) -> None:
    assert secret not in mask(before + secret + after, [secret])
