"""Our errors in OpenAI's form, so that its clients raise the right class and show the message."""

from freesolo.errors import (
    Forbidden,
    FreesoloError,
    InvalidInput,
    LimitExceeded,
    ModelNotFound,
    Unauthorized,
)

# What OpenAI calls the findings of our validation.
_PROBLEM_CODES = {
    "unknown_key": "unknown_parameter",
    "missing": "missing_required_parameter",
    "value": "invalid_value",
}


def http_status(error: FreesoloError) -> int:
    """Return the status that OpenAI would answer: input that cannot be accepted is 400 there."""
    return 400 if isinstance(error, InvalidInput) else error.http_status


def error_body(error: FreesoloError) -> dict[str, dict[str, str | None]]:
    """Return `{"error": {"message", "type", "param", "code"}}`; a hint becomes part of the message."""
    return {
        "error": {
            "message": f"{error.message} {error.hint}" if error.hint else error.message,
            "type": _type(error),
            "param": _param(error),
            "code": _code(error),
        }
    }


def _type(error: FreesoloError) -> str:
    if isinstance(error, Forbidden):
        return "permission_error"
    if isinstance(error, LimitExceeded):
        return "rate_limit_error"
    return "server_error" if error.http_status >= 500 else "invalid_request_error"


def _param(error: FreesoloError) -> str | None:
    if isinstance(error, ModelNotFound):
        return "model"
    return error.problems[0].path or None if error.problems else None


def _code(error: FreesoloError) -> str:
    if isinstance(error, Unauthorized):
        return "invalid_api_key"
    if error.problems:
        return _PROBLEM_CODES.get(error.problems[0].code, "invalid_value")
    return error.code
