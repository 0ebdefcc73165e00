"""Whatever goes wrong leaves as the one envelope, and only after the transaction has ended."""

import errno
import logging
import sqlite3
from collections.abc import Callable

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import event, select, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session
from starlette.requests import ClientDisconnect

from hub_server.models import Project
from tests.component.hub.harness import HubUnderTest, error_of
from tests.hubs import serving


def _raising(error: Exception) -> Callable[[], None]:
    def endpoint() -> None:
        raise error

    return endpoint


def _add_failing_route(app: FastAPI, error: Exception) -> None:
    app.add_api_route("/failing", _raising(error))


def _disk_full() -> OperationalError:
    return OperationalError("INSERT", {}, sqlite3.OperationalError("database or disk is full"))


def test_an_answer_is_sent_only_after_the_commit(any_hub: HubUnderTest) -> None:
    def refuse(session: Session) -> None:
        raise _disk_full()

    event.listen(any_hub.resources.sessions, "before_commit", refuse)
    response = any_hub.user.post("/v1/projects", json={"slug": "papers"})
    event.remove(any_hub.resources.sessions, "before_commit", refuse)
    assert (response.status_code, error_of(response)["code"]) == (503, "unavailable_storage_full")


def test_what_an_answer_promises_is_there_for_the_next_reader(any_hub: HubUnderTest) -> None:
    any_hub.user.post("/v1/projects", json={"slug": "papers"})
    with any_hub.resources.sessions.begin() as session:
        assert "papers" in session.scalars(select(Project.slug)).all()


def test_a_request_that_fails_leaves_nothing_behind(any_hub: HubUnderTest) -> None:
    any_hub.publish()
    headers = {"Idempotency-Key": "k"}
    spec = {"model": "unknown", "environment": {"id": "local/agree"}}
    assert any_hub.user.post("/v1/runs", json={"spec": spec}, headers=headers).status_code == 404
    again = any_hub.user.post("/v1/runs", json={"spec": spec | {"seed": 1}}, headers=headers)
    assert again.status_code == 404


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (_disk_full(), 503, "unavailable_storage_full"),
        (OSError(errno.ENOSPC, "No space left on device"), 503, "unavailable_storage_full"),
        (
            OperationalError("SELECT", {}, sqlite3.OperationalError("database is locked")),
            503,
            "unavailable",
        ),
        (RuntimeError("a secret detail"), 500, "internal"),
        (OSError(errno.EIO, "a secret detail"), 500, "internal"),
        (ClientDisconnect(), 422, "invalid_input"),
    ],
)
def test_a_failure_has_its_code(
    hub: HubUnderTest, error: Exception, status: int, code: str
) -> None:
    _add_failing_route(hub.app, error)
    response = hub.client(None).get("/failing")
    assert (response.status_code, error_of(response)["code"]) == (status, code)
    assert "secret" not in response.text


def test_our_own_fault_is_found_in_the_log_by_its_incident(
    hub: HubUnderTest, caplog: pytest.LogCaptureFixture
) -> None:
    _add_failing_route(hub.app, RuntimeError("the cause"))
    response = hub.client(None).get("/failing")
    (record,) = [record for record in caplog.records if hasattr(record, "incident")]
    assert record.incident in error_of(response)["message"]
    assert record.exc_info is not None
    assert response.headers["x-request-id"]


def test_our_own_fault_is_logged_once(hub: HubUnderTest, caplog: pytest.LogCaptureFixture) -> None:
    _add_failing_route(hub.app, RuntimeError("the cause"))
    with serving(hub.app) as url:
        assert httpx.get(f"{url}/failing").status_code == 500
    assert len([record for record in caplog.records if record.exc_info]) == 1


def test_waiting_is_asked_for_where_it_helps(hub: HubUnderTest) -> None:
    locked = OperationalError("SELECT", {}, sqlite3.OperationalError("database is locked"))
    _add_failing_route(hub.app, locked)
    assert hub.client(None).get("/failing").headers["retry-after"] == "1"


def test_a_malformed_body_is_answered_with_where_it_is_wrong(hub: HubUnderTest) -> None:
    response = hub.worker.post("/v1/leases/claim", json={"worker_id": ""})
    assert (response.status_code, error_of(response)["code"]) == (422, "invalid_input")
    assert error_of(response)["problems"][0]["path"] == "body.worker_id"


@pytest.mark.parametrize(
    "body",
    [
        rb'{"worker_id": "\ud800"}',
        b'{"worker_id": "\xed\xa0\x80"}',
        rb'{"worker_id": "me", "\udfff": 1}',
    ],
)
def test_half_a_character_is_refused(hub: HubUnderTest, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    response = hub.worker.post("/v1/leases/claim", content=body, headers=headers)
    assert (response.status_code, error_of(response)["code"]) == (422, "invalid_input")


def test_a_character_in_two_halves_is_one(hub: HubUnderTest) -> None:
    headers = {"Content-Type": "application/json"}
    body = rb'{"worker_id": "\ud83d\ude00"}'
    assert hub.worker.post("/v1/leases/claim", content=body, headers=headers).status_code == 204


def test_a_body_that_is_not_json_is_refused(hub: HubUnderTest) -> None:
    response = hub.worker.post("/v1/leases/claim", content=b"worker_id=me")
    assert (response.status_code, error_of(response)["code"]) == (422, "invalid_input")


@pytest.mark.parametrize("announced", [True, False])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/runs"),
        ("PUT", "/v1/members/ada"),
        ("PUT", "/v1/envs/local/agree/channels/stable"),
    ],
)
def test_nobody_can_make_the_hub_keep_a_huge_body_in_memory(
    hub: HubUnderTest, method: str, path: str, announced: bool
) -> None:
    parts = (b" " * 2**20 for _ in range(20))
    content = b"".join(parts) if announced else parts
    response = hub.client(None).request(method, path, content=content)
    assert (response.status_code, error_of(response)["code"]) == (413, "limit_payload")


def test_a_header_with_a_key_that_cannot_be_read_is_unauthorized(hub: HubUnderTest) -> None:
    headers = {"Authorization": "Basic !"}
    response = hub.client(None).get("/simple-env/local/agree/", headers=headers)
    assert (response.status_code, error_of(response)["code"]) == (401, "unauthorized")


def test_an_error_of_the_database_does_not_tell_what_was_written(hub: HubUnderTest) -> None:
    with (
        pytest.raises(OperationalError) as raised,
        hub.resources.sessions.begin() as session,
    ):
        session.execute(text("INSERT INTO nothing VALUES (:secret)"), {"secret": "whsec_1"})
    assert "whsec_1" not in str(raised.value)


def test_a_route_that_does_not_exist_is_not_found(hub: HubUnderTest) -> None:
    response = hub.user.get("/v2/whoami")
    assert (response.status_code, error_of(response)["code"]) == (404, "not_found")


def test_a_method_that_a_route_lacks_is_refused_with_those_it_has(hub: HubUnderTest) -> None:
    response = hub.user.delete("/v1/whoami")
    assert (response.status_code, response.headers["allow"]) == (405, "GET")


def test_a_request_is_one_line_in_the_log_without_its_query(
    hub: HubUnderTest, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="hub_server.middleware"):
        response = hub.user.get("/v1/envs/local/agree", params={"token": "secret"})
    (record,) = [record for record in caplog.records if record.message == "request"]
    facts = vars(record)
    assert (facts["method"], facts["status"]) == ("GET", 404)
    assert facts["route"] == "/v1/envs/{org}/{name}"
    assert "secret" not in str(facts)
    assert response.headers["x-request-id"]
