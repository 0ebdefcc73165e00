"""Who may do what: roles in an org, roles in an environment, and how one follows from the other."""

import re
from collections.abc import Iterable, Sequence
from enum import StrEnum
from fnmatch import fnmatchcase

from freesolo.errors import InvalidInput


class Role(StrEnum):
    """What a person or key is in an org; each may do what those before it may."""

    READER = "reader"
    MEMBER = "member"
    ADMIN = "admin"
    OWNER = "owner"


class EnvironmentRole(StrEnum):
    """What somebody may do with one environment: read it, publish to it, or decide about it."""

    READER = "reader"
    WRITER = "writer"
    ADMIN = "admin"


class Visibility(StrEnum):
    """Who may read an environment, besides its org and those it is shared with."""

    PRIVATE = "private"
    INTERNAL = "internal"
    PUBLIC = "public"


# As long as the longest `org/name`.
_PATTERN = re.compile(r"[A-Za-z0-9._/*?-]{1,129}")
_MAX_PATTERNS = 20
_ORG_ROLES = tuple(Role)
_ENVIRONMENT_ROLES = tuple(EnvironmentRole)
_IN_OWN_ORG = {
    Role.READER: EnvironmentRole.READER,
    Role.MEMBER: EnvironmentRole.WRITER,
    Role.ADMIN: EnvironmentRole.ADMIN,
    Role.OWNER: EnvironmentRole.ADMIN,
}


def includes(role: Role, needed: Role) -> bool:
    """Say whether an org role is at least `needed`."""
    return _ORG_ROLES.index(role) >= _ORG_ROLES.index(needed)


def lesser(one: Role, other: Role) -> Role:
    """Return the org role that may do less."""
    return min(one, other, key=_ORG_ROLES.index)


def may_change_role(by: Role, current: Role | None, new: Role | None) -> bool:
    """Say whether somebody may turn `current` into `new` in their org; None is no role at all.

    Admins decide about everybody but owners, and nobody gives a role above their own.
    """
    return by is Role.OWNER or (by is Role.ADMIN and Role.OWNER not in (current, new))


def may(role: EnvironmentRole | None, needed: EnvironmentRole) -> bool:
    """Say whether an environment role is at least `needed`; None may do nothing."""
    return role is not None and _rank(role) >= _rank(needed)


def effective_role(
    visibility: Visibility,
    *,
    org_role: Role | None = None,
    grants: Iterable[EnvironmentRole] = (),
    signed_in: bool,
) -> EnvironmentRole | None:
    """Return the highest role that somebody has in an environment, or None if they may not know it.

    `org_role` is their role in the org that owns it; `grants` are given to them, or to an org they
    act for, on this environment alone.
    """
    roles = list(grants)
    if org_role is not None:
        roles.append(_IN_OWN_ORG[org_role])
    if visibility is Visibility.PUBLIC or (visibility is Visibility.INTERNAL and signed_in):
        roles.append(EnvironmentRole.READER)
    return max(roles, key=_rank, default=None)


def pattern_allows(patterns: Sequence[str], full_name: str) -> bool:
    """Say whether a key that is confined to `patterns`, such as `acme/*`, may touch `org/name`.

    No pattern is no confinement. Names are compared folded to lower case.
    """
    folded = full_name.lower()
    return not patterns or any(fnmatchcase(folded, pattern.lower()) for pattern in patterns)


def check_patterns(patterns: Sequence[str]) -> tuple[str, ...]:
    """Return the patterns that a key may be confined to; raise `InvalidInput` for any other."""
    for pattern in patterns:
        if not _PATTERN.fullmatch(pattern):
            raise InvalidInput(
                f"{pattern[:140]!r} is not a pattern for environments.",
                hint="Write a name with `*` for any text and `?` for one sign, such as `acme/*`.",
            )
    if len(patterns) > _MAX_PATTERNS:
        raise InvalidInput(f"A key is confined to {_MAX_PATTERNS} patterns at most.")
    return tuple(patterns)


def patterns_within(narrow: Sequence[str], wide: Sequence[str]) -> bool:
    """Say whether a key confined to `narrow` can touch nothing that one confined to `wide` cannot.

    It is asked of each pattern alone: one that only several of `wide` cover together is refused.
    """
    if not wide:
        return True
    return bool(narrow) and all(any(_within(one, other) for other in wide) for one in narrow)


def _within(narrow: str, wide: str) -> bool:
    """Say whether `wide` matches whatever `narrow` does.

    It reads the narrow pattern as text: its `*` is taken by a `*` alone, its `?` by either of them.
    """
    wide = wide.lower()
    # The places in `wide` that the signs read so far may lead to.
    reached = _past_stars({0}, wide)
    for sign in narrow.lower():
        kept = {at for at in reached if wide[at : at + 1] == "*"}
        taken = {at + 1 for at in reached - kept if _takes(wide[at : at + 1], sign)}
        reached = _past_stars(kept | taken, wide)
    return len(wide) in reached


def _takes(wide: str, sign: str) -> bool:
    return wide == sign or (wide == "?" and sign != "*")


def _past_stars(reached: set[int], wide: str) -> set[int]:
    """Add the places that are reached when stars match nothing."""
    beyond = {at + 1 for at in reached if wide[at : at + 1] == "*"} - reached
    return _past_stars(reached | beyond, wide) if beyond else reached


def _rank(role: EnvironmentRole) -> int:
    return _ENVIRONMENT_ROLES.index(role)
