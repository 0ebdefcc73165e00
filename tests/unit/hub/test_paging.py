"""Cursors."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freesolo.errors import InvalidInput
from hub_server.paging import decode_cursor, encode_cursor


@given(st.lists(st.text(), min_size=1, max_size=3))
def test_a_cursor_holds_what_was_put_in(parts: list[str]) -> None:
    assert list(decode_cursor(encode_cursor(*parts), parts=len(parts))) == parts


def test_a_cursor_of_another_listing_is_refused() -> None:
    with pytest.raises(InvalidInput):
        decode_cursor(encode_cursor("a"), parts=2)


@pytest.mark.parametrize(
    "content",
    [b"", b"not JSON", b"\xff", b'"text"', b"[1]", b'["\\ud800"]', b"[" * 20_000],
)
def test_what_the_hub_did_not_make_is_no_cursor(content: bytes) -> None:
    with pytest.raises(InvalidInput):
        decode_cursor(base64.urlsafe_b64encode(content).decode(), parts=1)
