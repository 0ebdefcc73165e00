"""Who may do what: roles, and the patterns that keys are confined to."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freesolo.domain.roles import (
    EnvironmentRole,
    Role,
    Visibility,
    check_patterns,
    effective_role,
    includes,
    lesser,
    may,
    may_change_role,
    pattern_allows,
    patterns_within,
)
from freesolo.errors import InvalidInput

ANY_ROLE = st.sampled_from(Role)
NO_ROLE_OR_ONE = st.sampled_from([None, *Role])
# Few signs, so that patterns meet each other and the names below.
PATTERNS = st.text("ab/*?", min_size=1, max_size=6)
NAMES = ["".join(signs) for length in range(5) for signs in product("ab/", repeat=length)]


@given(ANY_ROLE, ANY_ROLE)
def test_the_lesser_of_two_roles_is_included_in_both(one: Role, other: Role) -> None:
    least = lesser(one, other)
    assert includes(one, least)
    assert includes(other, least)
    assert least in (one, other)


@given(ANY_ROLE, NO_ROLE_OR_ONE, NO_ROLE_OR_ONE)
def test_nobody_gives_a_role_above_their_own(by: Role, old: Role | None, new: Role | None) -> None:
    if may_change_role(by, old, new):
        assert includes(by, Role.ADMIN)
        assert new is None or includes(by, new)


@given(ANY_ROLE, NO_ROLE_OR_ONE)
def test_only_owners_make_and_unmake_owners(by: Role, other: Role | None) -> None:
    assert may_change_role(by, other, Role.OWNER) == (by is Role.OWNER)
    assert may_change_role(by, Role.OWNER, other) == (by is Role.OWNER)


def test_members_and_readers_decide_about_nobody() -> None:
    for by, old, new in product((Role.READER, Role.MEMBER), Role, Role):
        assert not may_change_role(by, old, new)


@pytest.mark.parametrize(
    ("visibility", "signed_in", "role"),
    [
        (Visibility.PRIVATE, True, None),
        (Visibility.INTERNAL, False, None),
        (Visibility.INTERNAL, True, EnvironmentRole.READER),
        (Visibility.PUBLIC, False, EnvironmentRole.READER),
    ],
)
def test_visibility_alone_lets_read_at_most(
    visibility: Visibility, signed_in: bool, role: EnvironmentRole | None
) -> None:
    assert effective_role(visibility, signed_in=signed_in) is role


@given(
    st.sampled_from(Visibility),
    NO_ROLE_OR_ONE,
    st.lists(st.sampled_from(EnvironmentRole)),
    st.sampled_from(EnvironmentRole),
)
def test_a_grant_never_takes_anything_away(
    visibility: Visibility,
    org_role: Role | None,
    grants: list[EnvironmentRole],
    added: EnvironmentRole,
) -> None:
    before = effective_role(visibility, org_role=org_role, grants=grants, signed_in=True)
    after = effective_role(visibility, org_role=org_role, grants=[*grants, added], signed_in=True)
    assert may(after, added)
    assert before is None or may(after, before)


@given(PATTERNS, PATTERNS)
def test_a_pattern_within_another_matches_nothing_more(narrow: str, wide: str) -> None:
    if patterns_within([narrow], [wide]):
        beyond = [
            name
            for name in NAMES
            if pattern_allows([narrow], name) and not pattern_allows([wide], name)
        ]
        assert beyond == []


@given(PATTERNS)
def test_every_pattern_is_within_itself_and_within_all(pattern: str) -> None:
    assert patterns_within([pattern], [pattern])
    assert patterns_within([pattern], ["*"])
    assert patterns_within([pattern], [])


@pytest.mark.parametrize(
    ("narrow", "wide", "within"),
    [
        (["acme/math-*"], ["acme/*"], True),
        (["ACME/Math"], ["acme/*"], True),
        (["acme/*"], ["acme/math-*"], False),
        (["*"], ["?"], False),
        (["a?"], ["a*"], True),
        (["a*"], ["a?"], False),
        (["acme/a", "acme/b"], ["acme/b", "acme/a"], True),
        ([], ["acme/*"], False),
        ([], [], True),
    ],
)
def test_what_lies_within_what(narrow: list[str], wide: list[str], within: bool) -> None:
    assert patterns_within(narrow, wide) is within


def test_many_stars_are_compared_in_no_time() -> None:
    assert not patterns_within(["a" * 129], ["*a" * 64 + "b"])


@pytest.mark.parametrize("pattern", ["", "acme/[a-z]", "acme math", "a" * 130, "acmé/*", "a\n"])
def test_other_signs_make_no_pattern(pattern: str) -> None:
    with pytest.raises(InvalidInput):
        check_patterns([pattern])


def test_a_key_has_a_bounded_number_of_patterns() -> None:
    assert check_patterns(["acme/*"] * 20) == ("acme/*",) * 20
    with pytest.raises(InvalidInput, match="20"):
        check_patterns(["acme/*"] * 21)
