"""Every operation of the OpenAPI schema, called with what the schema allows and with what it does not.

Never a 5xx; every answer is what the schema says, so every error is in the one envelope.
"""

import copy
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.schemas import APIOperation, BaseSchema
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from freesolo.schemas.accounts import ORG_HEADER
from hub_server.app import create_app
from hub_server.settings import HubSettings
from tests.component.hub.base_models import ADDED, added_entry
from tests.component.hub.evaluations import store
from tests.component.hub.harness import Document, HubUnderTest, SettableClock
from tests.hubs import serving

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
DOCUMENT = create_app(HubSettings()).openapi()
# Generic in what only schemathesis itself looks at.
Operation = APIOperation[Any, Any, Any, Any]
# What takes away comes last.
ORDER = ("get", "head", "put", "post", "patch", "delete")
OPERATIONS = sorted(
    ((method, path) for path, operations in DOCUMENT["paths"].items() for method in operations),
    key=lambda operation: ORDER.index(operation[0]),
)


@dataclass(frozen=True)
class Target:
    """A hub that listens, with something in it that the schema's parameters name."""

    url: str
    hub: HubUnderTest
    schema: BaseSchema

    def key(self, path: str) -> str:
        """Return the key of whom an operation is for."""
        if path.startswith(("/v1/leases", "/v1/blobs")):
            return self.hub.keys.worker
        return self.hub.keys.gateway if path.startswith("/v1/gateway") else self.hub.keys.user


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory, migrated_sqlite: Path) -> Iterator[Target]:
    data_dir = tmp_path_factory.mktemp("fuzz") / "hub"
    data_dir.mkdir()
    shutil.copy(migrated_sqlite, data_dir / "hub.db")
    chosen = HubSettings(data_dir=data_dir, webhook_private_networks=True)
    hub = HubUnderTest(chosen, SettableClock())
    with serving(hub.app) as url:
        known = fill(hub)
        yield Target(url, hub, schemathesis.openapi.from_dict(naming(known)))


def fill(hub: HubUnderTest) -> dict[str, str]:
    """Put something of each kind into the hub; return the values of the parameters that name it."""
    published = hub.publish()
    hub.publish(version="0.2.0")
    hub.user.put("/v1/envs/local/agree/channels/stable", json={"selector": "0.1.0"})
    hook = hub.user.post("/v1/webhooks", json={"url": "http://127.0.0.1:9/"}).json()
    hub.publish(version="0.3.0")
    hub.user.put("/v1/secrets/JUDGE_API_KEY", json={"value": "judge-me-not"})
    hub.user.post("/v1/models", json=added_entry())
    spare = hub.user.post("/v1/keys", json={"name": "spare"}).json()
    return {
        # Before the run that waits, which a worker would take first.
        "ref": hub.train(),
        "org": "local",
        "slug": "local",
        "name": "agree",
        "version": "0.1.0",
        "channel": "stable",
        "path": "environment.py",
        "distribution": "fsenv-local-agree",
        "filename": "fsenv_local_agree-0.1.0-py3-none-any.whl",
        "run_id": hub.submit(),
        "evaluation_id": store(hub)["id"],
        "webhook_id": hook["id"],
        "delivery_id": "1",
        "secret": "JUDGE_API_KEY",
        "key_id": spare.get("id", "spare"),
        "digest": published["archive_digest"],
        "model_id": ADDED,
    }


def naming(known: dict[str, str]) -> Document:
    """Return the schema in which the parameters of a path name what is there.

    What breaks the schema, on purpose, names something else.
    """
    document = copy.deepcopy(DOCUMENT)
    for operations in document["paths"].values():
        for operation in operations.values():
            parameters = operation.get("parameters", [])
            # Another org than the key's is refused before anything else is looked at.
            operation["parameters"] = [each for each in parameters if each["name"] != ORG_HEADER]
            for parameter in operation["parameters"]:
                if parameter["in"] == "path" and parameter["name"] in known:
                    value = known[parameter["name"]]
                    number = parameter["schema"].get("type") == "integer"
                    parameter["schema"] = {"enum": [int(value) if number else value]}
    return document


@pytest.mark.parametrize(
    ("method", "path"), OPERATIONS, ids=[f"{method} {path}" for method, path in OPERATIONS]
)
def test_an_operation_answers_as_the_schema_says(target: Target, method: str, path: str) -> None:
    operation = target.schema[path][method.upper()]
    signed_in = {"Authorization": f"Bearer {target.key(path)}"}
    call(target, operation, GenerationMode.POSITIVE, headers=signed_in, times=4)
    with suppress(Unsatisfiable):
        # Where there is nothing that could be wrong.
        call(target, operation, GenerationMode.NEGATIVE, headers=signed_in, times=3)
    call(target, operation, GenerationMode.POSITIVE, headers={}, times=1)


def call(
    target: Target,
    operation: Operation,
    mode: GenerationMode,
    *,
    headers: dict[str, str],
    times: int,
) -> None:
    """Call an operation some times and check its answers."""

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
        response = case.call(base_url=target.url, headers=headers)
        case.validate_response(response, checks=CHECKS)

    check()
