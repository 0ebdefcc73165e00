"""Environments as Python distributions: the names under which `pip` and `uv` install them.

acme/math        fsenv-acme-math      module fsenv_acme_math
acme/a-b         fsenv-acme-a-b
my-lab/math      fsenv2-my-lab-math   an org of two parts says so in the prefix

The number of the org's parts is what tells `my-lab/math` from `my/lab-math`: no two environments
share a distribution, and a distribution's name says which environment it is.
"""

import re
from dataclasses import dataclass

from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import Version

from freesolo.domain.refs import normalized_name
from freesolo.errors import InvalidRef

_PREFIX = "fsenv"
_WHEEL_TAG = "py3-none-any"
_SHAPE = re.compile(rf"{_PREFIX}(?P<parts>[2-9]|[1-9][0-9])?-(?P<rest>[a-z0-9]+(?:-[a-z0-9]+)+)")


@dataclass(frozen=True)
class Distribution:
    """The distribution of an environment; `org` and `name` are folded as PEP 503 does."""

    org: str
    name: str

    @classmethod
    def of(cls, org: str, name: str) -> "Distribution":
        """Return the distribution of the environment `org/name`, however that is written."""
        return cls(normalized_name(org), normalized_name(name))

    @classmethod
    def parse(cls, text: str) -> "Distribution":
        """Read a distribution's name in any spelling. Raise `InvalidRef` if it is none of ours."""
        match = _SHAPE.fullmatch(canonicalize_name(text))
        count = int(match["parts"] or 1) if match else 0
        parts = match["rest"].split("-") if match else []
        if not match or len(parts) <= count:
            raise InvalidRef(
                f"{text!r} is not the distribution of an environment.",
                hint="That of acme/math is `fsenv-acme-math`.",
            )
        return cls("-".join(parts[:count]), "-".join(parts[count:]))

    @property
    def module(self) -> str:
        """The module that the distribution installs."""
        return str(self).replace("-", "_")

    def wheel(self, version: str) -> str:
        """Return the file name of one version's wheel."""
        return f"{self.module}-{Version(version)}-{_WHEEL_TAG}.whl"

    def __str__(self) -> str:
        count = self.org.count("-") + 1
        return f"{_PREFIX}{count if count > 1 else ''}-{self.org}-{self.name}"


def parse_wheel(filename: str) -> tuple[Distribution, Version]:
    """Read the file name of a wheel of ours. Raise `InvalidRef` for any other file."""
    try:
        name, version, _, _ = parse_wheel_filename(filename)
        distribution = Distribution.parse(name)
    except (InvalidWheelFilename, InvalidRef):
        distribution = None
    if distribution is None or distribution.wheel(str(version)) != filename:
        raise InvalidRef(
            f"{filename!r} is not the wheel of an environment.",
            hint=f"That of acme/math 1.2.0 is `fsenv_acme_math-1.2.0-{_WHEEL_TAG}.whl`.",
        )
    return distribution, version
