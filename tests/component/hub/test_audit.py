"""Whatever a member changes leaves exactly one event, and what changes nothing leaves none."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient
from sqlalchemy import func, select

from freesolo.domain.roles import Role
from freesolo.schemas.uploads import OFFSET_HEADER
from hub_server.models import AuditEvent, Webhook
from hub_server.settings import HubSettings
from tests.component.hub.base_models import added_entry
from tests.component.hub.evaluations import evaluation, store
from tests.component.hub.harness import MODEL, HubUnderTest, SettableClock, error_of
from tests.component.hub.people import make_key_of_org, make_person
from tests.factories import content_digest

# What the platform's own processes call: no member does, and runs have events of their own.
OF_THE_PLATFORM = ("/v1/leases/", "/v1/gateway/", "/v1/blobs/")
# What only brings bytes; `finalize` is the change.
BYTES_ALONE = {("POST", "/v1/uploads"), ("PATCH", "/v1/uploads/{upload_id}")}
AGREE = "/v1/envs/local/agree"


@dataclass(frozen=True)
class Call:
    """A request that changes something. `once` is true if sending it again changes nothing."""

    client: TestClient
    path: str
    body: dict[str, Any]
    once: bool = True


@dataclass(frozen=True)
class Case:
    """A route that members call, the action that it leaves, and how to get to a call of it."""

    method: str
    route: str
    action: str
    prepare: Callable[[HubUnderTest], Call]

    def __str__(self) -> str:
        return f"{self.method} {self.route}"


def _on_agree(
    path: str = "", *, json: object = None, before: tuple[tuple[Any, ...], ...] = ()
) -> Callable[[HubUnderTest], Call]:
    """Prepare a call on a published environment, after some calls `before` it."""

    def prepare(hub: HubUnderTest) -> Call:
        hub.publish()
        hub.make_member("acme")
        make_person(hub, "ada", {"acme": Role.OWNER})
        for method, earlier, *body in before:
            response = hub.user.request(method, AGREE + earlier, json=body[0] if body else None)
            assert response.is_success, response.text
        return Call(hub.user, AGREE + path, {"json": json})

    return prepare


def _plain(path: str, json: object, *, once: bool = True) -> Callable[[HubUnderTest], Call]:
    return lambda hub: Call(hub.user, path, {"json": json}, once)


def _org(hub: HubUnderTest) -> Call:
    ada = make_person(hub, "ada", {"acme": Role.MEMBER})
    return Call(ada, "/v1/orgs", {"json": {"slug": "initech"}})


def _member(json: object = None) -> Callable[[HubUnderTest], Call]:
    def prepare(hub: HubUnderTest) -> Call:
        make_person(hub, "ada", {"local": Role.MEMBER})
        return Call(hub.user, "/v1/members/ada", {"json": json})

    return prepare


def _revocation(hub: HubUnderTest) -> Call:
    made = hub.user.post("/v1/keys", json={"name": "old"}).json()
    return Call(hub.user, f"/v1/keys/{made['id']}", {})


def _limitation(hub: HubUnderTest) -> Call:
    made = hub.user.post("/v1/keys", json={"name": "busy"}).json()
    limits = {"requests_per_minute": 60}
    return Call(hub.user, f"/v1/keys/{made['id']}/limits", {"json": limits}, once=False)


def _publication(hub: HubUnderTest) -> Call:
    archive = hub.pack()
    headers = {"Content-Digest": content_digest(archive.archive_digest)}
    content = archive.path.read_bytes()
    return Call(hub.user, f"{AGREE}/versions/0.1.0", {"content": content, "headers": headers})


def _promotion(hub: HubUnderTest) -> Call:
    call = _publication(hub)
    hub.user.put(call.path, params={"stage": True}, **call.body)
    return Call(hub.user, f"{call.path}/promote", {})


def _finalizing(hub: HubUnderTest) -> Call:
    archive = hub.pack()
    described = {
        "org": "local",
        "name": "agree",
        "version": "0.1.0",
        "tree_digest": archive.tree_digest,
        "archive_digest": archive.archive_digest,
        "size": archive.size,
    }
    path = f"/v1/uploads/{hub.user.post('/v1/uploads', json=described).json()['upload_id']}"
    sent = hub.user.patch(path, content=archive.path.read_bytes(), headers={OFFSET_HEADER: "0"})
    assert sent.is_success, sent.text
    return Call(hub.user, f"{path}/finalize", {})


def _acceptance(hub: HubUnderTest) -> Call:
    offered = _on_agree(before=(("POST", "/transfer", {"org": "acme"}),))(hub)
    receiver = hub.client(hub.make_member("acme"))
    return Call(receiver, f"{offered.path}/transfer/accept", {})


def _run(hub: HubUnderTest) -> Call:
    hub.publish()
    spec = {"model": MODEL, "environment": {"id": "local/agree"}, "train": {}}
    return Call(
        hub.user, "/v1/runs", {"json": {"spec": spec}, "headers": {"Idempotency-Key": "once"}}
    )


def _reproduction(hub: HubUnderTest) -> Call:
    hub.publish()
    headers = {"Idempotency-Key": "once"}
    return Call(hub.user, f"/v1/runs/{hub.train()}/reproduce", {"json": {}, "headers": headers})


def _cancellation(hub: HubUnderTest) -> Call:
    hub.publish()
    hub.submit()
    run_id = hub.claim()["run_id"]
    return Call(hub.user, f"/v1/runs/{run_id}/cancel", {})


def _deployment(hub: HubUnderTest) -> Call:
    hub.publish()
    return Call(hub.user, "/v1/deployments", {"json": {"adapter": hub.train()}})


def _undeployment(hub: HubUnderTest) -> Call:
    hub.publish()
    run_id = hub.train()
    hub.deploy(run_id)
    return Call(hub.user, f"/v1/deployments/{run_id}", {})


def _rollback(hub: HubUnderTest) -> Call:
    hub.publish()
    run_id = hub.train()
    for adapter in (f"{run_id}/step-1", run_id):
        hub.make_live(adapter)
    return Call(hub.user, f"/v1/deployments/{run_id}/rollback", {})


def _evaluation(hub: HubUnderTest) -> Call:
    hub.publish()
    body = {"json": evaluation(hub), "headers": {"Idempotency-Key": "once"}}
    return Call(hub.user, "/v1/evals", body)


def _removed_evaluation(hub: HubUnderTest) -> Call:
    hub.publish()
    return Call(hub.user, f"/v1/evals/{store(hub)['id']}", {})


def _webhook(hub: HubUnderTest) -> str:
    created = hub.user.post("/v1/webhooks", json={"url": "http://127.0.0.1:9/hook"})
    assert created.status_code == 201, created.text
    return f"/v1/webhooks/{created.json()['id']}"


def _removed_model(hub: HubUnderTest) -> Call:
    entry = added_entry()
    assert hub.user.post("/v1/models", json=entry).status_code == 201
    return Call(hub.user, f"/v1/models/{entry['id']}", {})


def _removed_secret(hub: HubUnderTest) -> Call:
    path = "/v1/secrets/JUDGE_API_KEY"
    assert hub.user.put(path, json={"value": "judge-me"}).is_success
    return Call(hub.user, path, {})


def _removed_webhook(hub: HubUnderTest) -> Call:
    return Call(hub.user, _webhook(hub), {})


def _enabled_webhook(hub: HubUnderTest) -> Call:
    path = _webhook(hub)
    with hub.resources.sessions.begin() as session:
        hook = session.query(Webhook).one()
        hook.disabled_at = hub.clock()
    return Call(hub.user, f"{path}/enable", {})


def _redelivery(hub: HubUnderTest) -> Call:
    path = _webhook(hub)
    hub.publish()
    (delivery,) = hub.user.get(f"{path}/deliveries").json()["deliveries"]
    return Call(hub.user, f"{path}/deliveries/{delivery['id']}/redeliver", {}, once=False)


ENV = "/v1/envs/{org}/{name}"
VERSION = f"{ENV}/versions/{{version}}"
YANK = {"reason": "The reward was wrong."}
CASES = [
    Case(
        "PUT",
        f"{ENV}/visibility",
        "environment.visibility-changed",
        _on_agree("/visibility", json={"visibility": "internal"}),
    ),
    Case(
        "PUT",
        f"{ENV}/access/users/{{handle}}",
        "environment.access-granted",
        _on_agree("/access/users/ada", json={"role": "writer"}),
    ),
    Case(
        "DELETE",
        f"{ENV}/access/users/{{handle}}",
        "environment.access-revoked",
        _on_agree("/access/users/ada", before=(("PUT", "/access/users/ada", {"role": "writer"}),)),
    ),
    Case(
        "PUT",
        f"{ENV}/access/orgs/{{slug}}",
        "environment.access-granted",
        _on_agree("/access/orgs/acme", json={"role": "reader"}),
    ),
    Case(
        "DELETE",
        f"{ENV}/access/orgs/{{slug}}",
        "environment.access-revoked",
        _on_agree("/access/orgs/acme", before=(("PUT", "/access/orgs/acme", {"role": "reader"}),)),
    ),
    Case("POST", "/v1/orgs", "org.created", _org),
    Case(
        "POST",
        "/v1/members",
        "member.added",
        _plain("/v1/members", {"handle": "ada", "role": "member"}),
    ),
    Case("PUT", "/v1/members/{handle}", "member.role-changed", _member({"role": "admin"})),
    Case("DELETE", "/v1/members/{handle}", "member.removed", _member()),
    Case("POST", "/v1/projects", "project.created", _plain("/v1/projects", {"slug": "refunds"})),
    Case("POST", "/v1/keys", "key.created", _plain("/v1/keys", {"name": "ci"}, once=False)),
    Case("DELETE", "/v1/keys/{key_id}", "key.revoked", _revocation),
    Case("PUT", "/v1/keys/{key_id}/limits", "key.limited", _limitation),
    Case("PUT", VERSION, "version.published", _publication),
    Case("POST", f"{VERSION}/promote", "version.published", _promotion),
    Case("POST", "/v1/uploads/{upload_id}/finalize", "version.published", _finalizing),
    Case("PUT", f"{VERSION}/yank", "version.yanked", _on_agree("/versions/0.1.0/yank", json=YANK)),
    Case(
        "DELETE",
        f"{VERSION}/yank",
        "version.unyanked",
        _on_agree("/versions/0.1.0/yank", before=(("PUT", "/versions/0.1.0/yank", YANK),)),
    ),
    Case("DELETE", VERSION, "version.deleted", _on_agree("/versions/0.1.0")),
    Case(
        "PUT",
        f"{ENV}/channels/{{channel}}",
        "channel.moved",
        _on_agree("/channels/stable", json={"selector": "0.1.0"}),
    ),
    Case(
        "DELETE",
        f"{ENV}/channels/{{channel}}",
        "channel.removed",
        _on_agree("/channels/stable", before=(("PUT", "/channels/stable", {"selector": "0.1.0"}),)),
    ),
    Case(
        "PUT",
        f"{ENV}/deprecation",
        "environment.deprecated",
        _on_agree("/deprecation", json={"message": "Use another."}),
    ),
    Case(
        "DELETE",
        f"{ENV}/deprecation",
        "environment.undeprecated",
        _on_agree("/deprecation", before=(("PUT", "/deprecation", {}),)),
    ),
    Case("PUT", f"{ENV}/archive", "environment.archived", _on_agree("/archive")),
    Case(
        "DELETE",
        f"{ENV}/archive",
        "environment.unarchived",
        _on_agree("/archive", before=(("PUT", "/archive"),)),
    ),
    Case("DELETE", ENV, "environment.deleted", _on_agree()),
    Case(
        "POST",
        f"{ENV}/restore",
        "environment.restored",
        _on_agree("/restore", before=(("DELETE", ""),)),
    ),
    Case(
        "POST",
        f"{ENV}/rename",
        "environment.renamed",
        _on_agree("/rename", json={"name": "consent"}),
    ),
    Case(
        "POST",
        f"{ENV}/transfer",
        "environment.transfer-offered",
        _on_agree("/transfer", json={"org": "acme"}),
    ),
    Case(
        "DELETE",
        f"{ENV}/transfer",
        "environment.transfer-declined",
        _on_agree("/transfer", before=(("POST", "/transfer", {"org": "acme"}),)),
    ),
    Case("POST", f"{ENV}/transfer/accept", "environment.transferred", _acceptance),
    Case(
        "PUT",
        "/v1/secrets/{secret}",
        "secret.stored",
        _plain("/v1/secrets/JUDGE_API_KEY", {"value": "judge-me"}, once=False),
    ),
    Case("DELETE", "/v1/secrets/{secret}", "secret.removed", _removed_secret),
    Case("POST", "/v1/runs", "run.submitted", _run),
    Case("POST", "/v1/runs/{run_id}/reproduce", "run.submitted", _reproduction),
    Case("POST", "/v1/runs/{run_id}/cancel", "run.cancelled", _cancellation),
    Case("POST", "/v1/models", "model.added", _plain("/v1/models", added_entry())),
    Case("DELETE", "/v1/models/{model_id:path}", "model.removed", _removed_model),
    Case("POST", "/v1/deployments", "deployment.requested", _deployment),
    Case("POST", "/v1/deployments/{model:path}/rollback", "deployment.rolled-back", _rollback),
    Case("DELETE", "/v1/deployments/{model:path}", "deployment.withdrawn", _undeployment),
    Case("POST", "/v1/evals", "evaluation.stored", _evaluation),
    Case("DELETE", "/v1/evals/{evaluation_id}", "evaluation.deleted", _removed_evaluation),
    Case(
        "POST",
        "/v1/webhooks",
        "webhook.created",
        _plain("/v1/webhooks", {"url": "http://127.0.0.1:9/hook"}, once=False),
    ),
    Case("DELETE", "/v1/webhooks/{webhook_id}", "webhook.deleted", _removed_webhook),
    Case("POST", "/v1/webhooks/{webhook_id}/enable", "webhook.enabled", _enabled_webhook),
    Case(
        "POST",
        "/v1/webhooks/{webhook_id}/deliveries/{delivery_id}/redeliver",
        "webhook.redelivered",
        _redelivery,
    ),
]


@pytest.fixture
def hub(hub_settings: HubSettings) -> Iterator[HubUnderTest]:
    """A hub whose webhooks may be sent to this machine."""
    settings = hub_settings.model_copy(update={"webhook_private_networks": True})
    with HubUnderTest(settings, SettableClock()) as hub:
        yield hub


def count(hub: HubUnderTest) -> int:
    """Return how many events there are, in all orgs."""
    with hub.resources.readers() as session:
        return session.execute(select(func.count(AuditEvent.id))).scalar_one()


def newest(hub: HubUnderTest) -> AuditEvent:
    """Return the last event."""
    with hub.resources.readers() as session:
        return session.scalars(select(AuditEvent).order_by(AuditEvent.id.desc()).limit(1)).one()


def test_every_route_that_a_member_changes_something_by_is_in_the_table(hub: HubUnderTest) -> None:
    changing = {
        (method, route.path)
        for route in hub.app.routes
        if isinstance(route, APIRoute) and not route.path.startswith(OF_THE_PLATFORM)
        for method in route.methods - {"GET", "HEAD"}
    }
    assert changing - BYTES_ALONE == {(case.method, case.route) for case in CASES}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_change_leaves_one_event_and_its_repetition_none(hub: HubUnderTest, case: Case) -> None:
    call = case.prepare(hub)
    before = count(hub)

    reader = make_key_of_org(hub, "local", Role.READER)
    refused = reader.request(case.method, call.path, **call.body)
    assert refused.is_error
    assert count(hub) == before

    done = call.client.request(case.method, call.path, **call.body)
    assert done.is_success, done.text
    assert count(hub) == before + 1
    event = newest(hub)
    assert event.action == case.action
    assert event.request_id == done.headers["x-request-id"]

    call.client.request(case.method, call.path, **call.body)
    assert count(hub) == before + (1 if call.once else 2)


def test_a_call_that_fails_late_leaves_nothing(hub: HubUnderTest) -> None:
    hub.publish()
    before = count(hub)
    other = hub.pack(comment="other")
    assert hub.send(other, "agree", "0.1.0").status_code == 409
    assert hub.user.put(f"{AGREE}/access/users/nobody", json={"role": "writer"}).status_code == 404
    assert count(hub) == before


# Reading it


def events(client: TestClient, **wanted: str) -> list[tuple[str, str]]:
    """Return the actions and targets that the audit tells, the oldest first."""
    found = client.get("/v1/audit", params=wanted).json()["events"]
    return [(event["action"], event["target"]) for event in reversed(found)]


def _did_some_things(hub: HubUnderTest) -> None:
    hub.publish()
    hub.user.post("/v1/projects", json={"slug": "refunds"})
    ada = make_person(hub, "ada", {"local": Role.ADMIN})
    ada.put(f"{AGREE}/visibility", json={"visibility": "internal"})
    ada.post("/v1/keys", json={"name": "ci"})


def test_the_audit_tells_who_did_what_with_which_key(hub: HubUnderTest) -> None:
    _did_some_things(hub)
    newest, *_, oldest = hub.user.get("/v1/audit").json()["events"]
    assert (oldest["actor"], oldest["action"]) == ("key tests", "version.published")
    assert oldest["target"] == "local/agree@0.1.0"
    assert (newest["actor"], newest["data"]["name"]) == ("ada", "ci")
    assert hub.keys.user.startswith(oldest["key_prefix"])
    assert "fslo_" not in str(newest["data"])


@pytest.mark.parametrize(
    ("wanted", "actions"),
    [
        ({"action": "key.created"}, ["key.created"]),
        ({"action": "key"}, ["key.created"]),
        ({"action": "ke"}, []),
        ({"actor": "ada"}, ["environment.visibility-changed", "key.created"]),
        ({"actor": "ada", "action": "key"}, ["key.created"]),
        ({"target": "local/agree"}, ["version.published", "environment.visibility-changed"]),
        ({"target": "local/agree@0.1.0"}, ["version.published"]),
        ({"target": "local/agre%"}, []),
    ],
)
def test_the_audit_is_searched_by_action_actor_and_target(
    hub: HubUnderTest, wanted: dict[str, str], actions: list[str]
) -> None:
    _did_some_things(hub)
    assert [action for action, _ in events(hub.user, **wanted)] == actions


def test_the_audit_is_read_page_by_page(any_hub: HubUnderTest) -> None:
    for number in range(5):
        any_hub.user.post("/v1/projects", json={"slug": f"p{number}"})
    told: list[str] = []
    cursor = None
    while True:
        page = any_hub.user.get(
            "/v1/audit", params={"limit": 2, **({"cursor": cursor} if cursor else {})}
        )
        told += [event["target"] for event in page.json()["events"]]
        if (cursor := page.json()["next_cursor"]) is None:
            break
    assert told == ["p4", "p3", "p2", "p1", "p0"]


@pytest.mark.parametrize("cursor", ["x", "WyJ4Il0=", "WyI5OTk5OTk5OTk5OTk5OTk5OTk5OTk5Il0=", ""])
def test_a_made_up_cursor_is_refused(hub: HubUnderTest, cursor: str) -> None:
    assert hub.user.get("/v1/audit", params={"cursor": cursor}).status_code == 422


def test_the_audit_is_for_admins_of_the_org_alone(hub: HubUnderTest) -> None:
    _did_some_things(hub)
    member = make_person(hub, "bob", {"local": Role.MEMBER})
    assert member.get("/v1/audit").status_code == 403
    assert events(hub.client(hub.make_member("acme"))) == []


def test_a_key_that_is_confined_does_not_hear_of_everything(hub: HubUnderTest) -> None:
    made = hub.user.post("/v1/keys", json={"name": "narrow", "patterns": ["local/x"]}).json()
    refusal = hub.client(made["api_key"]).get("/v1/audit")
    assert refusal.status_code == 403
    assert "local/x" in error_of(refusal)["message"]
