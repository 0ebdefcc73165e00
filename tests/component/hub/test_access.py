"""Who may call what."""

import re
from collections.abc import Iterator

import pytest
from fastapi import FastAPI

from freesolo.domain.roles import Role
from freesolo.schemas.accounts import Scope
from hub_server.accounts import service as accounts
from hub_server.models import ApiKey
from hub_server.upkeep import write_key_uses
from tests.component.hub.harness import HubUnderTest, error_of

OPEN_ROUTES = {"/healthz", "/readyz", "/metrics", "/v1/signing-keys"}
# What anybody may read as far as it is public; `test_visibility.py` says how far that is.
PUBLIC_READS = re.compile(r"/v1/(envs|search|changes)\b|/simple-env/")
RUN = "/v1/runs/run-0000000000"
SCOPE_OF_CALL = [
    ("GET", "/v1/envs", Scope.ENVIRONMENTS_READ),
    ("PUT", "/v1/envs/local/agree/versions/1.0", Scope.ENVIRONMENTS_WRITE),
    ("GET", RUN, Scope.RUNS_READ),
    ("POST", f"{RUN}/cancel", Scope.RUNS_WRITE),
    ("GET", "/v1/deployments", Scope.DEPLOYMENTS_READ),
    ("POST", "/v1/deployments/run-0000000000/rollback", Scope.DEPLOYMENTS_WRITE),
    ("DELETE", "/v1/deployments/run-0000000000", Scope.DEPLOYMENTS_WRITE),
]


def routes(app: FastAPI) -> Iterator[tuple[str, str]]:
    """Yield the method and path of every route."""
    for path, operations in app.openapi()["paths"].items():
        for method in operations:
            yield method.upper(), path


def test_without_a_key_nothing_is_answered_but_what_may_be_public(hub: HubUnderTest) -> None:
    stranger = hub.client(None)
    answered = {
        (method, path)
        for method, path in routes(hub.app)
        # What is no version is refused before anybody asks for a key.
        if stranger.request(method, path.replace("{version}", "1.0")).status_code != 401
        and path not in OPEN_ROUTES
    }
    assert answered
    assert {method for method, _ in answered} <= {"GET", "HEAD"}
    assert [path for _, path in answered if not PUBLIC_READS.match(path)] == []


def test_some_routes_are_open(hub: HubUnderTest) -> None:
    stranger = hub.client(None)
    # Metrics are for the hub's own machine; `test_metrics.py` asks from there.
    assert {stranger.get(path).status_code for path in OPEN_ROUTES - {"/metrics"}} == {200}


def test_a_missing_key_is_answered_with_how_to_send_one(hub: HubUnderTest) -> None:
    response = hub.client(None).get("/v1/whoami")
    assert (response.status_code, error_of(response)["code"]) == (401, "unauthorized")
    assert response.headers["www-authenticate"] == "Bearer"
    assert "Authorization: Bearer" in error_of(response)["hint"]


def test_an_unknown_key_is_refused(hub: HubUnderTest) -> None:
    response = hub.client("fslo_nobody").get("/v1/whoami")
    assert response.status_code == 401
    assert "fslo_nobody" not in response.text


def test_a_revoked_key_is_refused(hub: HubUnderTest) -> None:
    with hub.resources.sessions.begin() as session:
        key = session.query(ApiKey).filter_by(key_hash=accounts.hash_key(hub.keys.user)).one()
        key.revoked_at = hub.clock()
    assert hub.user.get("/v1/whoami").status_code == 401


def test_a_key_is_stored_only_as_its_hash(hub: HubUnderTest) -> None:
    with hub.resources.sessions.begin() as session:
        stored = [vars(key) for key in session.query(ApiKey)]
    assert hub.keys.user not in str(stored)


def test_the_last_use_of_a_key_is_noted(hub: HubUnderTest) -> None:
    hub.user.get("/v1/whoami")
    write_key_uses(hub.resources)
    with hub.resources.sessions.begin() as session:
        key = session.query(ApiKey).filter_by(key_hash=accounts.hash_key(hub.keys.user)).one()
        assert key.last_used_at == hub.clock()


def test_a_read_does_not_wait_for_one_who_writes(hub: HubUnderTest) -> None:
    with hub.resources.sessions.begin() as writer:
        # The transaction holds SQLite's only write lock from here on.
        writer.connection()
        assert hub.user.get("/v1/whoami").status_code == 200


def test_whoami_tells_the_org_and_the_gateway(hub: HubUnderTest) -> None:
    told = hub.user.get("/v1/whoami").json()
    assert (told["org"], told["key_name"]) == ("local", "tests")
    assert told["gateway_url"] == hub.resources.settings.gateway_url
    assert "chat" in told["scopes"]


@pytest.mark.parametrize(("method", "path", "scope"), SCOPE_OF_CALL)
def test_a_key_without_the_scope_is_told_which_one_it_lacks(
    hub: HubUnderTest, method: str, path: str, scope: Scope
) -> None:
    response = hub.client(_key_with(hub, Scope.CHAT)).request(method, path)
    assert (response.status_code, error_of(response)["code"]) == (403, "forbidden")
    assert repr(scope.value) in error_of(response)["message"]


@pytest.mark.parametrize("path", ["/v1/leases/claim", "/v1/gateway/deployments/claim"])
def test_a_members_key_may_not_act_as_the_platform(hub: HubUnderTest, path: str) -> None:
    assert hub.user.post(path, json={"worker_id": "me"}).status_code == 403


def test_a_workers_key_may_not_act_as_a_gateway(hub: HubUnderTest) -> None:
    assert hub.worker.post("/v1/gateway/deployments/claim").status_code == 403


def test_a_service_key_has_no_org_to_list(hub: HubUnderTest) -> None:
    response = hub.worker.get("/v1/runs")
    assert (response.status_code, error_of(response)["code"]) == (403, "forbidden")


def _key_with(hub: HubUnderTest, *scopes: Scope) -> str:
    with hub.resources.sessions.begin() as session:
        org = accounts.ensure_org(session, "local", now=hub.clock())
        plan = accounts.KeyPlan("narrow", scopes, role=Role.OWNER)
        return accounts.create_key(session, org, plan, now=hub.clock()).secret
