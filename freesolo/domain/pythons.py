"""Ranges of Python versions, as in `requires-python`."""

from packaging.specifiers import SpecifierSet
from packaging.version import Version


def oldest_python(requires_python: str) -> Version | None:
    """Return the version that a range such as `>=3.11` begins with, None if it has no lower end."""
    lower = [
        Version(specifier.version.removesuffix(".*"))
        for specifier in SpecifierSet(requires_python)
        if specifier.operator in (">=", ">", "==", "~=")
    ]
    return max(lower, default=None)
