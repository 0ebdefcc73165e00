"""New names: which are kept for the platform, and which look too much like another."""

import re

from freesolo.domain.refs import check_name, normalized_name
from freesolo.errors import InvalidRef

# Words that routes, commands and documentation use, or that would speak for the platform.
RESERVED = frozenset(
    {"admin", "api", "freesolo", "hub", "latest", "official", "root", "simple", "support", "system"}
    | {"v1", "www"}
)
_SEPARATORS = re.compile(r"[-_.]")


def check_new_name(name: str, what: str) -> str:
    """Return `name` if a new org or environment may have it; raise `InvalidRef` otherwise."""
    check_name(name, what)
    if normalized_name(name) in RESERVED:
        raise InvalidRef(f"{name!r} is reserved and cannot name an {what}.", hint="Choose another.")
    return name


def confusable_key(name: str) -> str:
    """Fold a name so that names which people mistake for each other become the same text."""
    folded = _SEPARATORS.sub("", normalized_name(name))
    for written, looks_like in (("0", "o"), ("1", "l"), ("i", "l"), ("rn", "m"), ("vv", "w")):
        folded = folded.replace(written, looks_like)
    return folded
