"""Who may do what: roles in an org, roles in an environment, and how one follows from the other."""

from collections.abc import Iterable, Sequence
from enum import StrEnum
from fnmatch import fnmatchcase


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


def _rank(role: EnvironmentRole) -> int:
    return _ENVIRONMENT_ROLES.index(role)
