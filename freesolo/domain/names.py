"""New names: which are kept for the platform, and which look too much like another."""

import re

from freesolo.domain.packaging import path_problem
from freesolo.domain.refs import check_name, normalized_name
from freesolo.errors import InvalidRef

# Words that routes, commands and documentation use, or that would speak for the platform.
RESERVED = frozenset(
    {"admin", "api", "auth", "docs", "freesolo", "help", "hub", "latest", "login", "new", "none"}
    | {"null", "official", "root", "security", "settings", "simple", "static", "status", "support"}
    | {"system", "v1", "www"}
)
_SEPARATORS = re.compile(r"[-_.]")
# What is written, and what it is taken for. One letter stands for each group.
_LOOKS_LIKE = (("0", "o"), ("1", "l"), ("i", "l"), ("rn", "m"), ("vv", "w"))


def check_new_name(name: str, what: str) -> str:
    """Return `name` if a new org or environment may have it; raise `InvalidRef` otherwise.

    Those that exist may be looked up under any name that `check_name` accepts.
    """
    check_name(name, what)
    if normalized_name(name) in RESERVED:
        raise InvalidRef(f"{name!r} is reserved and cannot name an {what}.", hint="Choose another.")
    if reason := path_problem(name):
        # It will be a folder on somebody's disk.
        raise InvalidRef(f"{name!r} cannot name an {what}: it {reason}.", hint="Choose another.")
    return name


def confusable_key(name: str) -> str:
    """Fold a name so that names which people mistake for each other become the same text."""
    folded = _SEPARATORS.sub("", normalized_name(name))
    for written, taken_for in _LOOKS_LIKE:
        folded = folded.replace(written, taken_for)
    return folded
