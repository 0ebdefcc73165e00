"""Every route of the gateway, called with what its OpenAPI schema allows and with what it does not.

Never a 5xx; every answer is what the schema says, so every error is in OpenAI's form.
"""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

from tests.component.gateway.conftest import BASE, Platform

CHECKS = [
    not_a_server_error,
    negative_data_rejection,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
# Generic in what only schemathesis itself looks at.
Operation = APIOperation[Any, Any, Any, Any]
OPERATIONS = [
    ("POST", "/v1/chat/completions"),
    ("POST", "/v1/completions"),
    ("GET", "/v1/models"),
    ("GET", "/v1/models/{model_id}"),
    ("GET", "/healthz"),
    ("GET", "/readyz"),
]


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_a_route_answers_as_the_schema_says(platform: Platform, method: str, path: str) -> None:
    document = httpx.get(f"{platform.url}/openapi.json").json()
    for name in ("ChatRequest", "TextRequest"):
        # Others are not found, before anything else is looked at.
        document["components"]["schemas"][name]["properties"]["model"] = {"enum": [BASE]}
    for methods in document["paths"].values():
        for each in methods.values():
            # Keys are ours to send.
            each.pop("security", None)
    operation = schemathesis.openapi.from_dict(document)[path][method]
    key = {"Authorization": f"Bearer {platform.hub.user_key}"}
    times = 30 if method == "POST" else 5
    call(platform.url, operation, GenerationMode.POSITIVE, headers=key, times=times)
    with suppress(Unsatisfiable):
        # Where there is nothing that could be wrong.
        call(platform.url, operation, GenerationMode.NEGATIVE, headers=key, times=times)
    call(platform.url, operation, GenerationMode.POSITIVE, headers={}, times=1)


def test_every_route_is_called(platform: Platform) -> None:
    document = httpx.get(f"{platform.url}/openapi.json").json()
    assert {
        (method.upper(), path)
        for path, methods in document["paths"].items()
        for method in methods
        if path != "/metrics"
    } == set(OPERATIONS)


def call(
    url: str,
    operation: Operation,
    mode: GenerationMode,
    *,
    headers: Mapping[str, str],
    times: int,
) -> None:
    """Call a route some times and check its answers."""

    @seed(1)
    @settings(
        max_examples=times,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def check(case: Case[Operation]) -> None:
        case.headers.pop("Authorization", None)
        response = case.call(base_url=url, headers=dict(headers))
        case.validate_response(response, checks=CHECKS)

    check()
