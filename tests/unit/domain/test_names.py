"""Names: what a new one may be, and which two look alike."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freesolo.domain.names import RESERVED, check_new_name, confusable_key
from freesolo.domain.refs import normalized_name
from freesolo.errors import InvalidRef

NAMES = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,20}[A-Za-z0-9])?", fullmatch=True)


@pytest.mark.parametrize(
    "name", ["math", "Refund-Agent", "gsm8k", "a", "console", "administration"]
)
def test_an_ordinary_name_is_taken(name: str) -> None:
    assert check_new_name(name, "environment") == name


@pytest.mark.parametrize("name", ["api", "FreeSolo", "Latest", "v1"])
def test_a_reserved_name_is_refused_in_any_spelling(name: str) -> None:
    with pytest.raises(InvalidRef, match=f"'{name}' is reserved and cannot name an org"):
        check_new_name(name, "org")


@pytest.mark.parametrize("name", ["con", "NUL", "com1.x"])
def test_a_name_that_cannot_be_a_folder_everywhere_is_refused(name: str) -> None:
    with pytest.raises(InvalidRef, match="Windows reserves"):
        check_new_name(name, "environment")


@pytest.mark.parametrize("name", ["", "-a", "a b", "a/b", "a" * 65])
def test_what_is_no_name_is_no_new_name(name: str) -> None:
    with pytest.raises(InvalidRef, match="cannot name an environment"):
        check_new_name(name, "environment")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("gsm8k", "gsm-8k"),
        ("refund_agent", "RefundAgent"),
        ("foo", "f0o"),
        ("lib", "1ib"),
        ("ill", "lil"),
        ("modern", "modem"),
        ("vvater", "water"),
        ("r.n", "m"),
    ],
)
def test_names_that_look_alike_have_one_key(one: str, other: str) -> None:
    assert confusable_key(one) == confusable_key(other)


@pytest.mark.parametrize(("one", "other"), [("math", "maths"), ("task-a", "task-b"), ("s2", "s3")])
def test_names_that_differ_have_different_keys(one: str, other: str) -> None:
    assert confusable_key(one) != confusable_key(other)


@given(name=NAMES)
def test_a_key_is_not_empty_and_no_longer_than_its_name(name: str) -> None:
    assert 0 < len(confusable_key(name)) <= len(name)


@given(name=NAMES)
def test_spellings_of_one_name_have_one_key(name: str) -> None:
    assert confusable_key(name.upper()) == confusable_key(normalized_name(name))


def test_reserved_names_are_written_as_they_are_compared() -> None:
    assert all(normalized_name(name) == name for name in RESERVED)
