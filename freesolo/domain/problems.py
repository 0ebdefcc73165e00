"""pydantic's findings, in our words: one `Problem` each, unknown keys with the nearest valid one."""

from typing import get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from freesolo.domain.suggest import did_you_mean
from freesolo.errors import Problem

# Characters of a value that is worth showing again.
_MAX_SHOWN = 200
# Where names belong; what stands there in place of one may be the value.
_SECRETS = "secrets"


def problems_from_validation(error: ValidationError, model: type[BaseModel]) -> list[Problem]:
    """Translate a validation error of `model`, in the order of its findings."""
    return [_problem(details, model) for details in error.errors()]


def _problem(details: ErrorDetails, model: type[BaseModel]) -> Problem:
    path = ".".join(str(part) for part in details["loc"])
    kind = details["type"]
    if kind == "extra_forbidden":
        hint = did_you_mean(str(details["loc"][-1]), _keys_at(model, details["loc"][:-1]))
        return Problem(path, f"Unknown key. {hint}" if hint else "Unknown key.", "unknown_key")
    if kind == "missing":
        return Problem(path, "Required, but missing.", "missing")
    message = details["msg"].removeprefix("Value error, ").rstrip(".")
    value = details.get("input")
    # Lists and objects may be as large as everything that was sent.
    shown = repr(value) if isinstance(value, str | int | float | bool) else ""
    # An address may hold a password.
    may_be_secret = _SECRETS in details["loc"] or "://" in shown
    if not shown or len(shown) > _MAX_SHOWN or may_be_secret or shown in message:
        return Problem(path, f"{message}.", "value")
    return Problem(path, f"{message} (got {shown}).", "value")


def _keys_at(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """Return the keys that are valid at a place inside `model`."""
    for part in location:
        field = next(
            (field for name, field in model.model_fields.items() if part in (name, field.alias)),
            None,
        )
        nested = next(
            (
                item
                for item in (field.annotation, *get_args(field.annotation))
                if isinstance(item, type) and issubclass(item, BaseModel)
            )
            if field
            else iter(()),
            None,
        )
        if nested is None:
            return []
        model = nested
    return [field.alias or name for name, field in model.model_fields.items()]
