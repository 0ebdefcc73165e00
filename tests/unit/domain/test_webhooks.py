"""The signature of a delivery: what a receiver can rely on."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freesolo.domain.webhooks import is_genuine, sign_delivery

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def test_the_signature_is_the_one_that_is_documented() -> None:
    header = sign_delivery("whsec_test", b'{"serial":1}', at=NOW)
    assert header == (
        "t=1893456000,v1=bfbfce2baf02f69fa33aa0c5dd12118279d35cb0cff83d76fb65a7981ed950ee"
    )


@given(secret=st.text(min_size=1), body=st.binary())
def test_what_the_hub_signs_is_genuine(secret: str, body: bytes) -> None:
    assert is_genuine(secret, sign_delivery(secret, body, at=NOW), body, now=NOW)


def test_another_body_secret_or_moment_is_not_genuine() -> None:
    header = sign_delivery("secret", b"body", at=NOW)
    assert not is_genuine("secret", header, b"other", now=NOW)
    assert not is_genuine("other", header, b"body", now=NOW)
    assert not is_genuine("secret", header.replace("t=1", "t=2"), b"body", now=NOW)


@pytest.mark.parametrize("minutes", [-6, 6])
def test_what_is_sent_again_later_by_somebody_else_is_refused(minutes: int) -> None:
    header = sign_delivery("secret", b"body", at=NOW)
    assert not is_genuine("secret", header, b"body", now=NOW + timedelta(minutes=minutes))


@pytest.mark.parametrize(
    "header",
    [
        *("", "t=1", "v1=00", "t=²,v1=00", "t=-1,v1=00", "t,v1", "=,="),
        pytest.param(f"t={'9' * 400},v1=00", id="no float"),
        pytest.param(f"t={'9' * 5000},v1=00", id="no integer"),
    ],
)
def test_a_header_that_is_none_is_refused(header: str) -> None:
    assert not is_genuine("secret", header, b"body", now=datetime.fromtimestamp(1, tz=UTC))
