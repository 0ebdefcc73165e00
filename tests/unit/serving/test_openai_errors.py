"""Our errors as OpenAI's clients read them."""

import pytest

from freesolo.errors import (
    ContextLengthExceeded,
    EngineUnavailable,
    Forbidden,
    FreesoloError,
    InvalidInput,
    LimitExceeded,
    ModelNotFound,
    Problem,
    Unauthorized,
)
from serving_backend.openai_errors import error_body, http_status


@pytest.mark.parametrize(
    ("error", "status", "kind", "code"),
    [
        (Unauthorized("no"), 401, "invalid_request_error", "invalid_api_key"),
        (Forbidden("no"), 403, "permission_error", "forbidden"),
        (ModelNotFound("no"), 404, "invalid_request_error", "model_not_found"),
        (InvalidInput("no"), 400, "invalid_request_error", "invalid_input"),
        (ContextLengthExceeded("no"), 400, "invalid_request_error", "context_length_exceeded"),
        (LimitExceeded("no"), 429, "rate_limit_error", "limit_exceeded"),
        (EngineUnavailable("no"), 503, "server_error", "unavailable_engine"),
    ],
)
def test_status_type_and_code(error: FreesoloError, status: int, kind: str, code: str) -> None:
    body = error_body(error)["error"]
    assert (http_status(error), body["type"], body["code"]) == (status, kind, code)


def test_a_hint_is_part_of_the_message() -> None:
    body = error_body(ModelNotFound("There is no model 'a'.", hint="Did you mean `b`?"))
    assert body["error"]["message"] == "There is no model 'a'. Did you mean `b`?"


def test_the_first_problem_names_the_parameter() -> None:
    problem = Problem("max_token", "Unknown key.", "unknown_key")
    error = error_body(InvalidInput("no", problems=[problem]))["error"]
    assert (error["param"], error["code"]) == ("max_token", "unknown_parameter")
