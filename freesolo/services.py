"""How a service process begins and ends: its settings, and its errors as exit codes."""

import sys
from typing import Annotated, Literal, NoReturn, TypeVar

from pydantic import BeforeValidator, ValidationError
from pydantic_settings import BaseSettings

from freesolo.domain.problems import problems_from_validation
from freesolo.errors import FreesoloError, InvalidInput

LogLevel = Annotated[
    Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"],
    BeforeValidator(lambda level: level.upper() if isinstance(level, str) else level),
]

_Settings = TypeVar("_Settings", bound=BaseSettings)


def load_settings(settings: type[_Settings]) -> _Settings:
    """Read a process's settings from the environment.

    Raise `InvalidInput` naming each variable that is missing or wrong, and none of the others.
    """
    try:
        return settings()
    except ValidationError as error:
        prefix = str(settings.model_config.get("env_prefix", ""))
        problems = problems_from_validation(error, settings)
        findings = "; ".join(f"{prefix}{one.path}".upper() + f": {one.message}" for one in problems)
        raise InvalidInput(
            findings, hint="docs/reference/settings.md lists every variable.", problems=problems
        ) from None


def leave(error: FreesoloError) -> NoReturn:
    """End the process: the error on standard error for whoever started it, and its exit code."""
    hint = f"\n{error.hint}" if error.hint else ""
    sys.stderr.write(f"error: {error.message}{hint}\n")
    sys.exit(error.exit_code)
