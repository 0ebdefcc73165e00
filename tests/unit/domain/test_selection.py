"""Which version a selector means."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freesolo.domain.refs import LATEST, Selector
from freesolo.domain.selection import choose_version, is_newer, newest_first

VERSIONS = {"1.0": "sha256:a", "1.2": "sha256:b", "1.10": "sha256:b", "2.0rc1": "sha256:c"}


@pytest.mark.parametrize(
    ("selector", "chosen"),
    [
        ("", "1.10"),
        ("1.2.0", "1.2"),
        ("1.3", None),
        (">=1,<1.10", "1.2"),
        (">1", "1.10"),
        (">=2.0a1", "2.0rc1"),
        (">2", None),
        ("stable", None),
    ],
)
def test_a_selector_chooses(selector: str, chosen: str | None) -> None:
    assert choose_version(Selector.parse(selector), VERSIONS) == chosen


def test_a_digest_means_the_newest_version_that_has_it() -> None:
    digest = f"sha256:{'b' * 64}"
    versions = {"1.0": f"sha256:{'a' * 64}", "1.1": digest, "1.2": digest}
    assert choose_version(Selector.parse(digest), versions) == "1.2"


def test_nothing_is_chosen_from_nothing() -> None:
    assert choose_version(Selector.parse("latest"), {}) is None


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=1, unique=True))
def test_the_newest_release_is_never_below_another(numbers: list[tuple[int, int]]) -> None:
    versions = {f"{major}.{minor}": "sha256:x" for major, minor in numbers}
    major, minor = max(numbers)
    assert choose_version(Selector.parse(""), versions) == f"{major}.{minor}"
    assert newest_first(versions)[0] == f"{major}.{minor}"


@pytest.mark.parametrize(
    ("candidate", "current", "newer"),
    [
        ("1.0", "", True),
        ("1.0a1", "", True),
        ("1.10", "1.9", True),
        ("1.9", "1.10", False),
        ("1.0", "1.0", False),
        ("1.0", "2.0rc1", True),
        ("2.0rc1", "1.0", False),
        ("2.0rc2", "2.0rc1", True),
        ("1.0.post1", "1.0", True),
        ("1!0.1", "9.0", True),
    ],
)
def test_a_release_comes_before_every_pre_release(
    candidate: str, current: str, *, newer: bool
) -> None:
    assert is_newer(candidate, current) is newer


@given(st.lists(st.sampled_from(["0.9", "1.0", "1.1rc1", "1.1", "1.2a1", "2.0.dev1"]), min_size=1))
def test_the_newest_is_the_same_whether_found_at_once_or_one_by_one(versions: list[str]) -> None:
    latest = ""
    for version in versions:
        if is_newer(version, latest):
            latest = version
    digests = dict.fromkeys(versions, "sha256:x")
    assert latest == (choose_version(LATEST, digests) or newest_first(digests)[0])
