"""Reading the digest header of an upload."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freesolo.errors import InvalidInput
from hub_server.uploads import content_digest


@given(st.binary(min_size=32, max_size=32))
def test_every_sha256_is_read_back(digest: bytes) -> None:
    header = f"sha-256=:{base64.b64encode(digest).decode()}:"
    assert content_digest(header) == f"sha256:{digest.hex()}"


def test_the_sha256_is_found_among_other_digests() -> None:
    value = base64.b64encode(bytes(32)).decode()
    assert content_digest(f"md5=:AAAA:, sha-256=:{value}:") == f"sha256:{'0' * 64}"


@pytest.mark.parametrize(
    "header", ["", "sha-256", "sha-256=abc", "sha-256=:abc:", "sha-256=:AAAA:"]
)
def test_a_header_without_a_sha256_is_refused(header: str) -> None:
    with pytest.raises(InvalidInput):
        content_digest(header)
