"""Secrets of projects and runs: encrypted at rest, never shown, given to whoever holds the lease."""

import json
import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from cryptography.fernet import Fernet
from fastapi.testclient import TestClient
from httpx2 import Response
from sqlalchemy import select

from freesolo.domain.roles import Role
from freesolo.schemas.accounts import Scope
from hub_server.models import Base, ProjectSecret, RequestRecord, RunSecret
from tests.component.hub.harness import MODEL, Document, HubUnderTest, error_of
from tests.component.hub.people import FULL, make_key_of_org, make_person
from tests.factories import make_environment, pack_folder

JUDGE = "/v1/secrets/JUDGE_API_KEY"
VALUE = "judge-me-not-lest-ye-be-judged"
OTHER = "another-value-altogether"


def store(client: TestClient, name: str = "JUDGE_API_KEY", value: str = VALUE) -> Response:
    return client.put(f"/v1/secrets/{name}", json={"value": value})


def publish(hub: HubUnderTest, *names: str) -> None:
    """Publish `local/judged`, which declares these secrets."""
    folder = make_environment(hub.path / "judged", name="judged")
    with (folder / "environment.toml").open("a") as manifest:
        manifest.write(f"secrets = {json.dumps(list(names))}\n")
    response = hub.send(pack_folder(folder), "judged", "0.1.0")
    assert response.is_success, response.text


def submit(
    hub: HubUnderTest,
    handed: Mapping[str, object] | None = None,
    *,
    names: tuple[str, ...] = (),
    project: str | None = None,
    **more: object,
) -> Response:
    """Queue a run on `local/judged` whose config names further secrets."""
    environment = {"id": "local/judged", "secrets": list(names)}
    spec = {"model": MODEL, "environment": environment, "train": {}, "project": project}
    return hub.user.post("/v1/runs", json={"spec": spec, "secrets": handed or {}, **more})


def given(hub: HubUnderTest, lease: Document) -> Response:
    """Ask, as a worker, for the secrets of the run that it holds."""
    return hub.worker.get(
        f"/v1/leases/{lease['run_id']}/secrets", headers={"Freesolo-Lease": lease["token"]}
    )


def kept(hub: HubUnderTest) -> list[str]:
    """Return the names of all that is kept for runs."""
    with hub.resources.readers() as session:
        return sorted(session.scalars(select(RunSecret.name)))


def everything_stored(hub: HubUnderTest) -> str:
    """Return the whole content of the hub's database as text."""
    with hub.resources.readers() as session:
        return str([session.execute(select(table)).all() for table in Base.metadata.sorted_tables])


# Of a project


def test_a_secret_is_stored_encrypted_and_listed_without_its_value(any_hub: HubUnderTest) -> None:
    answer = store(any_hub.user)
    assert answer.status_code == 200
    assert answer.json() == {
        "name": "JUDGE_API_KEY",
        "updated_by": "key tests",
        "updated_at": "2030-01-01T00:00:00Z",
    }
    assert any_hub.user.get("/v1/secrets").json() == {"secrets": [answer.json()]}
    assert VALUE not in everything_stored(any_hub)
    with any_hub.resources.readers() as session:
        secret = session.scalars(select(ProjectSecret)).one()
    assert any_hub.resources.vault.decrypt(secret.ciphertext) == VALUE


def test_a_secret_that_is_set_again_is_replaced(any_hub: HubUnderTest) -> None:
    store(any_hub.user)
    any_hub.clock.advance(60)
    ada = make_person(any_hub, "ada", {"local": Role.MEMBER})
    assert store(ada, value=OTHER).json()["updated_by"] == "ada"
    (listed,) = any_hub.user.get("/v1/secrets").json()["secrets"]
    assert listed["updated_at"] == "2030-01-01T00:01:00Z"


def test_a_removed_secret_is_gone(any_hub: HubUnderTest) -> None:
    store(any_hub.user)
    assert any_hub.user.delete(JUDGE).status_code == 204
    assert any_hub.user.get("/v1/secrets").json() == {"secrets": []}
    again = any_hub.user.delete(JUDGE)
    assert (again.status_code, error_of(again)["code"]) == (404, "secret_not_found")


def test_projects_have_secrets_of_their_own(hub: HubUnderTest) -> None:
    project = hub.user.post("/v1/projects", json={"slug": "refunds"}).json()["id"]
    store(hub.user)
    assert hub.user.get("/v1/secrets", params={"project": project}).json() == {"secrets": []}
    assert hub.user.delete(JUDGE, params={"project": project}).status_code == 404


def test_the_project_of_another_org_is_not_found(hub: HubUnderTest) -> None:
    project = hub.user.post("/v1/projects", json={"slug": "refunds"}).json()["id"]
    stranger = hub.client(hub.make_member("acme"))
    asked = {"project": project}
    for answer in (
        stranger.get("/v1/secrets", params=asked),
        stranger.put(JUDGE, params=asked, json={"value": VALUE}),
        stranger.delete(JUDGE, params=asked),
    ):
        assert (answer.status_code, error_of(answer)["code"]) == (404, "project_not_found")


def test_another_org_has_none_of_an_org_s_secrets(hub: HubUnderTest) -> None:
    store(hub.user)
    stranger = hub.client(hub.make_member("acme"))
    assert stranger.get("/v1/secrets").json() == {"secrets": []}
    assert stranger.delete(JUDGE).status_code == 404


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_secrets_are_for_members_with_a_key_for_runs(hub: HubUnderTest, method: str) -> None:
    store(hub.user)
    path = "/v1/secrets" if method == "GET" else JUDGE
    reading = (Scope.ENVIRONMENTS_READ, Scope.ENVIRONMENTS_WRITE)
    refused = [
        make_key_of_org(hub, "local", Role.READER),
        make_key_of_org(hub, "local", Role.OWNER, replace(FULL, scopes=reading)),
        make_key_of_org(hub, "local", Role.OWNER, replace(FULL, patterns=("local/agree",))),
        hub.worker,
        hub.gateway,
    ]
    for client in refused:
        assert client.request(method, path, json={"value": OTHER}).status_code == 403
    assert hub.client(None).request(method, path, json={"value": OTHER}).status_code == 401


@pytest.mark.parametrize(
    "name", ["lower", "1KEY", "A-B", "FREESOLO_API_KEY", "LD_PRELOAD", "PATH", "A" * 101]
)
def test_a_name_that_no_secret_may_have_is_refused(hub: HubUnderTest, name: str) -> None:
    assert store(hub.user, name).status_code == 422
    assert hub.user.get("/v1/secrets").json() == {"secrets": []}


@pytest.mark.parametrize(
    "body",
    [
        {"value": f"{VALUE}\0"},
        {"value": VALUE * 1000},
        {"value": [VALUE]},
        {"value": {"value": VALUE}},
        {"values": VALUE},
        [VALUE],
        VALUE,
    ],
)
def test_a_value_that_is_refused_is_told_to_nobody(
    hub: HubUnderTest, caplog: pytest.LogCaptureFixture, body: object
) -> None:
    caplog.set_level(logging.DEBUG)
    answer = hub.user.put(JUDGE, json=body)
    assert answer.status_code == 422
    assert VALUE not in answer.text
    assert VALUE not in caplog.text


def test_a_body_that_is_not_json_is_told_to_nobody(hub: HubUnderTest) -> None:
    answer = hub.user.put(
        JUDGE, content=f'{{"value": "{VALUE}', headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 422
    assert VALUE not in answer.text


def test_a_project_has_at_most_a_hundred_secrets(hub: HubUnderTest) -> None:
    for number in range(100):
        assert store(hub.user, f"KEY_{number}").is_success
    assert error_of(store(hub.user, "KEY_100"))["code"] == "limit_exceeded"
    assert store(hub.user, "KEY_99", OTHER).is_success


def test_of_two_who_set_a_secret_at_once_both_succeed(any_hub: HubUnderTest) -> None:
    values = [f"value-{number}" for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda value: store(any_hub.user, value=value), values))
    assert {answer.status_code for answer in answers} == {200}
    with any_hub.resources.readers() as session:
        secret = session.scalars(select(ProjectSecret)).one()
    assert any_hub.resources.vault.decrypt(secret.ciphertext) in values


def test_the_audit_tells_the_name_and_not_the_value(hub: HubUnderTest) -> None:
    store(hub.user)
    hub.user.delete(JUDGE)
    audit = hub.user.get("/v1/audit", params={"action": "secret"})
    told = [(event["action"], event["target"], event["data"]) for event in audit.json()["events"]]
    where = {"project": "default"}
    assert told == [
        ("secret.removed", "JUDGE_API_KEY", where),
        ("secret.stored", "JUDGE_API_KEY", where),
    ]
    assert VALUE not in audit.text


# Of a run


def test_a_run_gets_what_was_handed_in_and_what_the_project_has(any_hub: HubUnderTest) -> None:
    publish(any_hub, "JUDGE_API_KEY", "SEARCH_API_KEY")
    store(any_hub.user)
    store(any_hub.user, "UNRELATED_API_KEY")
    submitted = submit(any_hub, {"SEARCH_API_KEY": OTHER})
    assert submitted.status_code == 201, submitted.text
    answer = given(any_hub, any_hub.claim())
    assert answer.json() == {
        "secrets": {"JUDGE_API_KEY": VALUE, "SEARCH_API_KEY": OTHER},
        "job": {},
    }
    assert answer.headers["cache-control"] == "no-store"


def test_what_is_handed_in_comes_before_what_the_project_has(hub: HubUnderTest) -> None:
    publish(hub, "JUDGE_API_KEY")
    store(hub.user)
    submit(hub, {"JUDGE_API_KEY": OTHER})
    assert given(hub, hub.claim()).json() == {"secrets": {"JUDGE_API_KEY": OTHER}, "job": {}}


def test_a_config_names_secrets_on_top_of_the_manifest_s(hub: HubUnderTest) -> None:
    publish(hub)
    assert submit(hub, {"EXTRA_KEY": VALUE}, names=("EXTRA_KEY",)).status_code == 201
    assert given(hub, hub.claim()).json() == {"secrets": {"EXTRA_KEY": VALUE}, "job": {}}


def test_a_run_without_declared_secrets_gets_none(hub: HubUnderTest) -> None:
    publish(hub)
    store(hub.user)
    submit(hub)
    assert given(hub, hub.claim()).json() == {"secrets": {}, "job": {}}


def test_a_run_of_another_project_lacks_what_this_one_has(hub: HubUnderTest) -> None:
    publish(hub, "JUDGE_API_KEY")
    store(hub.user)
    project = hub.user.post("/v1/projects", json={"slug": "refunds"}).json()["id"]
    assert error_of(submit(hub, project=project))["code"] == "invalid_secret_missing"
    hub.user.put(JUDGE, params={"project": project}, json={"value": OTHER})
    assert submit(hub, project=project).status_code == 201
    assert given(hub, hub.claim()).json() == {"secrets": {"JUDGE_API_KEY": OTHER}, "job": {}}


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_missing_secret_is_named_before_anything_starts(hub: HubUnderTest, dry_run: bool) -> None:
    publish(hub, "JUDGE_API_KEY", "SEARCH_API_KEY")
    answer = submit(hub, names=("EXTRA_KEY",), dry_run=dry_run)
    assert answer.status_code == 422
    error = error_of(answer)
    assert error["code"] == "invalid_secret_missing"
    assert "EXTRA_KEY, JUDGE_API_KEY, SEARCH_API_KEY" in error["message"]
    assert "freesolo secrets set" in error["hint"]
    assert hub.user.get("/v1/runs").json()["runs"] == []


def test_a_dry_run_says_which_secrets_a_run_would_get_and_keeps_none(hub: HubUnderTest) -> None:
    publish(hub, "JUDGE_API_KEY")
    planned = submit(hub, {"JUDGE_API_KEY": VALUE}, dry_run=True)
    assert planned.json()["secrets"] == ["JUDGE_API_KEY"]
    assert kept(hub) == []


def test_a_secret_that_nobody_declared_is_refused(hub: HubUnderTest) -> None:
    publish(hub, "JUDGE_API_KEY")
    answer = submit(hub, {"JUDGE_API_KEY": VALUE, "OTHER_KEY": VALUE})
    assert (answer.status_code, error_of(answer)["code"]) == (422, "invalid_secret")
    assert "OTHER_KEY" in error_of(answer)["message"]


@pytest.mark.parametrize(
    "handed",
    [
        {"JUDGE_API_KEY": ""},
        {"JUDGE_API_KEY": f"{VALUE}\0"},
        {"JUDGE_API_KEY": VALUE * 1000},
        {"JUDGE_API_KEY": [VALUE]},
        {"judge": VALUE},
        {"FREESOLO_API_KEY": VALUE},
        [VALUE],
        VALUE,
    ],
)
def test_a_handed_in_value_that_is_refused_is_told_to_nobody(
    hub: HubUnderTest, caplog: pytest.LogCaptureFixture, handed: object
) -> None:
    caplog.set_level(logging.DEBUG)
    publish(hub, "JUDGE_API_KEY")
    spec = {"model": MODEL, "environment": {"id": "local/judged"}, "train": {}}
    answer = hub.user.post("/v1/runs", json={"spec": spec, "secrets": handed})
    assert answer.status_code == 422
    assert VALUE not in answer.text
    assert VALUE not in caplog.text


def test_nothing_that_is_stored_or_shown_of_a_run_holds_a_secret(
    any_hub: HubUnderTest, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    publish(any_hub, "JUDGE_API_KEY", "SEARCH_API_KEY")
    store(any_hub.user)
    answer = submit(any_hub, {"SEARCH_API_KEY": OTHER})
    run_id = answer.json()["id"]
    given(any_hub, any_hub.claim())
    shown = "".join(
        any_hub.user.get(path).text
        for path in (f"/v1/runs/{run_id}", f"/v1/runs/{run_id}/events", "/v1/runs", "/v1/audit")
    )
    for secret in (VALUE, OTHER):
        assert secret not in answer.text + shown + everything_stored(any_hub) + caplog.text


def test_a_repeated_submit_is_known_by_the_names_of_its_secrets_and_not_by_their_values(
    hub: HubUnderTest,
) -> None:
    publish(hub, "JUDGE_API_KEY", "SEARCH_API_KEY")
    store(hub.user, "SEARCH_API_KEY")
    spec = {"model": MODEL, "environment": {"id": "local/judged"}, "train": {}}

    def post(**handed: str) -> Response:
        body = {"spec": spec, "secrets": handed}
        return hub.user.post("/v1/runs", json=body, headers={"Idempotency-Key": "once"})

    first = post(JUDGE_API_KEY=VALUE)
    with hub.resources.readers() as session:
        fingerprint = session.scalars(select(RequestRecord.fingerprint)).one()
    # What is kept of the request would let nobody try values until one fits.
    assert post(JUDGE_API_KEY=OTHER).json()["id"] == first.json()["id"]
    assert post(JUDGE_API_KEY=OTHER, SEARCH_API_KEY=OTHER).status_code == 409
    with hub.resources.readers() as session:
        assert session.scalars(select(RequestRecord.fingerprint)).one() == fingerprint
    assert given(hub, hub.claim()).json()["secrets"]["JUDGE_API_KEY"] == VALUE


# Who holds the lease


def test_only_the_holder_of_the_lease_gets_a_run_s_secrets(hub: HubUnderTest) -> None:
    publish(hub, "JUDGE_API_KEY")
    submit(hub, {"JUDGE_API_KEY": VALUE})
    lease = hub.claim()
    path, headers = f"/v1/leases/{lease['run_id']}/secrets", {"Freesolo-Lease": lease["token"]}
    refusals = [
        (hub.client(None).get(path, headers=headers), 401),
        (hub.user.get(path, headers=headers), 403),
        (hub.gateway.get(path, headers=headers), 403),
        (hub.worker.get(path), 422),
        (hub.worker.get(path, headers={"Freesolo-Lease": "wrong"}), 409),
    ]
    for answer, status in refusals:
        assert answer.status_code == status
        assert VALUE not in answer.text


def test_whoever_lost_the_lease_gets_nothing_and_the_next_attempt_all_of_it(
    any_hub: HubUnderTest,
) -> None:
    publish(any_hub, "JUDGE_API_KEY", "SEARCH_API_KEY")
    store(any_hub.user)
    submit(any_hub, {"SEARCH_API_KEY": OTHER})
    lost = any_hub.claim("worker-1")
    any_hub.clock.advance(3600)
    any_hub.take_back_lost()
    assert given(any_hub, lost).status_code == 409
    again = any_hub.claim("worker-2")
    assert again["attempt"] == 2
    expected = {"JUDGE_API_KEY": VALUE, "SEARCH_API_KEY": OTHER}
    assert given(any_hub, again).json() == {"secrets": expected, "job": {}}


def test_an_attempt_gets_what_the_project_has_when_it_begins(hub: HubUnderTest) -> None:
    publish(hub, "JUDGE_API_KEY")
    store(hub.user)
    submit(hub)
    store(hub.user, value=OTHER)
    lease = hub.claim()
    assert given(hub, lease).json() == {"secrets": {"JUDGE_API_KEY": OTHER}, "job": {}}
    hub.user.delete(JUDGE)
    gone = given(hub, lease)
    assert (gone.status_code, error_of(gone)["code"]) == (422, "invalid_secret_missing")
    assert "JUDGE_API_KEY" in error_of(gone)["message"]


@pytest.mark.parametrize("end", ["done", "failed", "cancelled while queued", "cancelled"])
def test_what_was_handed_in_is_deleted_when_the_run_ends(any_hub: HubUnderTest, end: str) -> None:
    publish(any_hub, "JUDGE_API_KEY")
    run_id = submit(any_hub, {"JUDGE_API_KEY": VALUE}).json()["id"]
    assert kept(any_hub) == ["JUDGE_API_KEY"]
    if end == "cancelled while queued":
        any_hub.user.post(f"/v1/runs/{run_id}/cancel")
    else:
        lease = any_hub.claim()
        _end(any_hub, lease, end)
        assert given(any_hub, lease).status_code == 409
    assert any_hub.run(run_id)["state"] == end.split()[0]
    assert kept(any_hub) == []


def _end(hub: HubUnderTest, lease: Document, end: str) -> None:
    match end:
        case "done":
            hub.report(lease, "start", {"total_steps": 1})
            hub.save(lease, 1)
            hub.report(lease, "complete", {"step": 1})
        case "failed":
            hub.report(lease, "fail", {"error": {"code": "env_failed", "message": "It fell."}})
        case _:
            hub.user.post(f"/v1/runs/{lease['run_id']}/cancel")
            assert kept(hub) == ["JUDGE_API_KEY"]
            hub.report(lease, "release")


# The hub's own key


def restarted(hub: HubUnderTest, **settings: object) -> HubUnderTest:
    """Return another process of the same hub, with some settings changed."""
    changed = hub.resources.settings.model_copy(update=settings)
    return HubUnderTest(changed, hub.clock, hub.keys)


def test_secrets_outlive_a_restart_of_the_hub(hub: HubUnderTest) -> None:
    publish(hub, "JUDGE_API_KEY", "SEARCH_API_KEY")
    store(hub.user)
    submit(hub, {"SEARCH_API_KEY": OTHER})
    with restarted(hub) as later:
        expected = {"JUDGE_API_KEY": VALUE, "SEARCH_API_KEY": OTHER}
        assert given(later, later.claim()).json() == {"secrets": expected, "job": {}}


def test_a_replaced_key_still_reads_what_the_one_before_wrote(hub: HubUnderTest) -> None:
    publish(hub, "JUDGE_API_KEY", "SEARCH_API_KEY")
    store(hub.user)
    submit(hub, {"SEARCH_API_KEY": OTHER})
    former = (hub.resources.settings.data_dir / "encryption-key").read_text()
    key_file = hub.path / "keys"
    key_file.write_text(f"{Fernet.generate_key().decode()}\n{former}")
    key_file.chmod(0o600)
    with restarted(hub, encryption_key=key_file) as later:
        lease = later.claim()
        assert given(later, lease).json()["secrets"]["JUDGE_API_KEY"] == VALUE
        # What is written now is read by the new key alone.
        store(later.user, value=OTHER)
        key_file.write_text(key_file.read_text().splitlines()[0])
    with restarted(hub, encryption_key=key_file) as newest, newest.resources.readers() as session:
        secret = session.scalars(select(ProjectSecret)).one()
        assert newest.resources.vault.decrypt(secret.ciphertext) == OTHER


def test_a_lost_key_is_told_with_the_secret_s_name_and_the_way_out(hub: HubUnderTest) -> None:
    publish(hub, "JUDGE_API_KEY")
    store(hub.user)
    submit(hub)
    key_file = hub.path / "wrong-key"
    key_file.write_text(Fernet.generate_key().decode())
    key_file.chmod(0o600)
    with restarted(hub, encryption_key=key_file) as later:
        lease = later.claim()
        answer = given(later, lease)
        assert answer.status_code == 422
        assert "'JUDGE_API_KEY' cannot be read" in error_of(answer)["message"]
        assert "freesolo secrets set JUDGE_API_KEY" in error_of(answer)["hint"]
        # Whoever has it sets it again, and all is well.
        assert store(later.user).is_success
        assert given(later, lease).json() == {"secrets": {"JUDGE_API_KEY": VALUE}, "job": {}}
