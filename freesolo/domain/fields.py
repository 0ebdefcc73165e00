"""Texts that several of our files hold, checked where they are read."""

import re
import unicodedata
from typing import Annotated

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from pydantic import AfterValidator

from freesolo.domain.refs import EnvRef, SelectorKind
from freesolo.errors import InvalidRef

# Where the range of a requirement such as `acme/tools>=1,<2` begins.
_RANGE_START = re.compile(r"\s*(?=[<>=!~])")
_PINNED_WHEEL = re.compile(r"https://[^\s#]+\.whl#sha256=[0-9a-f]{64}")
_RANGES = (SelectorKind.LATEST, SelectorKind.EXACT, SelectorKind.RANGE)


def range_text(specifiers: SpecifierSet) -> str:
    """Write a range from its lower end up, as people do: `>=1,<2`."""
    return ",".join(sorted(map(str, specifiers), key=lambda text: (text[0] in "<!", text)))


def _requirement(value: str) -> str:
    try:
        requirement = Requirement(value)
    except InvalidRequirement as error:
        raise ValueError(f"{value!r} is not a requirement: {error}") from None
    if requirement.url is not None and not _PINNED_WHEEL.fullmatch(requirement.url):
        # What a bare address or a repository holds can change after it was published.
        raise ValueError(
            f"{value!r} may change: name a version, or the https address of a wheel that ends with "
            "#sha256= and its digest"
        )
    return value


def _plain(value: str) -> str:
    if any(unicodedata.category(character) == "Cc" for character in value):
        raise ValueError(f"{value!r} holds a control character")
    return value


def _environment_ref(value: str) -> str:
    return str(EnvRef.parse(value))


def parse_environment_requirement(text: str) -> EnvRef:
    """Read `org/name` with a range of versions behind it, as in `acme/tools>=1,<2`.

    The range may also stand behind an `@`, as in a reference. Raise `InvalidRef` for a channel or a
    digest: what builds on an environment says which releases of it will do.
    """
    ref = EnvRef.parse(text if "@" in text else _RANGE_START.sub("@", text.strip(), count=1))
    if ref.selector.kind not in _RANGES:
        raise InvalidRef(
            f"{text!r} does not say which versions will do.",
            hint="Write a range of versions, such as `org/name>=1,<2`.",
        )
    return ref


def _python_range(value: str) -> str:
    try:
        return str(SpecifierSet(value))
    except InvalidSpecifier:
        raise ValueError(f"{value!r} is not a version range such as >=3.11") from None


def _environment_requirement(value: str) -> str:
    return str(parse_environment_requirement(value))


# One line of text for people.
PlainText = Annotated[str, AfterValidator(_plain)]
# A PEP 508 requirement, as it was written; by address only with the digest of what is there.
RequirementText = Annotated[str, AfterValidator(_requirement)]
# A range of Python versions, such as `>=3.11`.
PythonRangeText = Annotated[str, AfterValidator(_python_range)]
# A reference to an environment, in its normal form.
EnvRefText = Annotated[str, AfterValidator(_environment_ref)]
# An environment that another one builds on, as a reference in its normal form.
EnvRequirementText = Annotated[str, AfterValidator(_environment_requirement)]
