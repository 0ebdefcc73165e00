"""What comes after a version."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version

from freesolo.domain.versions import Bump, next_version

VERSIONS = st.from_regex(
    r"([1-9]!)?[0-9]{1,3}(\.[0-9]{1,3}){0,3}((a|b|rc)[0-9]{1,2})?(\.post[0-9])?(\.dev[0-9])?(\+x)?",
    fullmatch=True,
)


@pytest.mark.parametrize(
    ("newest", "bump", "after"),
    [
        ("1.2.3", "major", "2.0.0"),
        ("1.2.3", "minor", "1.3.0"),
        ("1.2.3", "patch", "1.2.4"),
        ("1.2.3", "rc", "1.2.4rc1"),
        ("1.2.3", "post", "1.2.3.post1"),
        ("1.2.3.post1", "post", "1.2.3.post2"),
        ("1.2.3.post1", "patch", "1.2.4"),
        ("1.2", "patch", "1.2.1"),
        ("2.0.0rc1", "major", "2.0.0"),
        ("2.0.0rc1", "patch", "2.0.0"),
        ("2.0.0rc1", "rc", "2.0.0rc2"),
        ("2.0.0a3", "rc", "2.0.0rc1"),
        ("1.3.0rc1", "minor", "1.3.0"),
        ("1.3.0rc1", "major", "2.0.0"),
        ("1.2.3.dev4", "patch", "1.2.3"),
        ("1!1.0", "minor", "1!1.1.0"),
        ("1.0+local", "post", "1.0.post1"),
    ],
)
def test_the_next_version(newest: str, bump: str, after: str) -> None:
    assert next_version(newest, Bump(bump)) == after


@given(newest=VERSIONS, bump=st.sampled_from(Bump))
def test_the_next_version_is_newer(newest: str, bump: Bump) -> None:
    assert Version(next_version(newest, bump)) > Version(Version(newest).public)
