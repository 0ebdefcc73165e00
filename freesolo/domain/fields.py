"""Texts that both `environment.toml` and a training config hold, checked where they are read."""

from typing import Annotated

from packaging.requirements import InvalidRequirement, Requirement
from pydantic import AfterValidator

from freesolo.domain.refs import EnvRef


def _requirement(value: str) -> str:
    try:
        Requirement(value)
    except InvalidRequirement as error:
        raise ValueError(f"{value!r} is not a requirement: {error}") from None
    return value


def _environment_ref(value: str) -> str:
    return str(EnvRef.parse(value))


# A PEP 508 requirement, as it was written.
RequirementText = Annotated[str, AfterValidator(_requirement)]
# A reference to an environment, in its normal form.
EnvRefText = Annotated[str, AfterValidator(_environment_ref)]
