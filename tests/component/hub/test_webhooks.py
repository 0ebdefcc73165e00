"""Webhooks against a real receiver: told at least once, signed, and never where they may not go."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from sqlalchemy import Engine, select

from freesolo.domain.canonical import canonical_json
from freesolo.domain.roles import Role
from freesolo.domain.webhooks import is_genuine
from freesolo.schemas.accounts import USER_SCOPES
from hub_server.accounts import service as accounts
from hub_server.models import AuditEvent, Webhook, WebhookDelivery
from hub_server.settings import HubSettings
from hub_server.webhooks import outbox
from hub_server.webhooks.sender import send_due
from tests.component.hub.harness import Document, HubUnderTest, SettableClock, error_of


@dataclass
class Receiver:
    """An HTTP server on loopback that keeps what it got, and answers as it is told."""

    url: str = ""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    arrived: threading.Event = field(default_factory=threading.Event)
    may_answer: threading.Event = field(default_factory=threading.Event)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    state = Receiver()
    state.may_answer.set()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            state.got.append((dict(self.headers), body))
            state.arrived.set()
            state.may_answer.wait(10)
            self.send_response(state.status)
            for name, value in state.headers.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        state.url = f"http://127.0.0.1:{server.server_port}/hook"
        yield state
        state.may_answer.set()
        server.shutdown()
        thread.join()


@contextmanager
def not_started(settings: HubSettings) -> Iterator[HubUnderTest]:
    """A hub without its threads, so that only the test sends."""
    allowed = settings.model_copy(update={"webhook_private_networks": True})
    hub = HubUnderTest(allowed, SettableClock())
    hub.resources.blobs.prepare()
    yield hub
    hub.resources.answers.close()
    engine = hub.resources.sessions.kw["bind"]
    assert isinstance(engine, Engine)
    engine.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def any_hub(request: pytest.FixtureRequest, hub_settings: HubSettings) -> Iterator[HubUnderTest]:
    settings = hub_settings
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres_url")
        settings = hub_settings.model_copy(update={"database_url": url})
    with not_started(settings) as hub:
        yield hub


@pytest.fixture
def hub(hub_settings: HubSettings) -> Iterator[HubUnderTest]:
    with not_started(hub_settings) as hub:
        yield hub


def create(hub: HubUnderTest, receiver: Receiver, **wanted: object) -> Document:
    response = hub.user.post("/v1/webhooks", json={"url": receiver.url, **wanted})
    assert response.status_code == 201, response.text
    document: Document = response.json()
    return document


def deliveries(hub: HubUnderTest, hook: Document) -> list[Document]:
    response = hub.user.get(f"/v1/webhooks/{hook['id']}/deliveries")
    assert response.status_code == 200, response.text
    found: list[Document] = response.json()["deliveries"]
    return found


def test_a_change_is_told_signed_as_it_stands_in_the_feed(
    any_hub: HubUnderTest, receiver: Receiver
) -> None:
    hook = create(any_hub, receiver)
    any_hub.publish()
    assert send_due(any_hub.resources) == 1
    ((headers, body),) = receiver.got
    (change,) = any_hub.user.get("/v1/changes").json()["changes"]
    assert body == canonical_json(change["entry"])
    assert is_genuine(
        hook["secret"], headers["Freesolo-Signature"], body, now=any_hub.resources.clock()
    )
    (delivery,) = deliveries(any_hub, hook)
    assert headers["Freesolo-Delivery"] == str(delivery["id"])
    assert headers["Freesolo-Event"] == "version.published"
    assert headers["Content-Type"] == "application/json"
    assert headers["Host"] in receiver.url
    assert (delivery["state"], delivery["attempts"], delivery["status_code"]) == (
        "delivered",
        1,
        200,
    )
    assert send_due(any_hub.resources) == 0


def test_a_webhook_hears_only_of_what_it_asked_for(hub: HubUnderTest, receiver: Receiver) -> None:
    kinds = create(hub, receiver, kinds=["version.yanked"])
    names = create(hub, receiver, pattern="local/math-*")
    everything = create(hub, receiver)
    for name in ("math-one", "other"):
        hub.publish(name)
    told = [
        sorted(delivery["ref"] for delivery in deliveries(hub, hook))
        for hook in (kinds, names, everything)
    ]
    assert told == [[], ["local/math-one"], ["local/math-one", "local/other"]]


def test_a_webhook_hears_nothing_of_other_orgs(hub: HubUnderTest, receiver: Receiver) -> None:
    stranger = hub.client(hub.make_member("other"))
    hook = stranger.post("/v1/webhooks", json={"url": receiver.url}).json()
    hub.publish()
    assert stranger.get(f"/v1/webhooks/{hook['id']}/deliveries").json()["deliveries"] == []


def test_a_publish_that_fails_is_not_told(hub: HubUnderTest, receiver: Receiver) -> None:
    hub.publish()
    hook = create(hub, receiver)
    conflict = hub.send(hub.pack(comment="other"), "agree", "0.1.0")
    assert conflict.status_code == 409
    assert deliveries(hub, hook) == []


def test_a_receiver_that_fails_is_told_again_under_the_same_id(
    any_hub: HubUnderTest, receiver: Receiver
) -> None:
    hook = create(any_hub, receiver)
    any_hub.publish()
    receiver.status = 500
    assert send_due(any_hub.resources) == 1
    (delivery,) = deliveries(any_hub, hook)
    assert (delivery["state"], delivery["error"]) == ("waiting", "It answered 500.")
    assert send_due(any_hub.resources) == 0
    receiver.status = 204
    any_hub.clock.advance(5)
    assert send_due(any_hub.resources) == 1
    first, second = (headers for headers, _ in receiver.got)
    assert first["Freesolo-Delivery"] == second["Freesolo-Delivery"]
    assert first["Freesolo-Signature"] != second["Freesolo-Signature"]
    (delivery,) = deliveries(any_hub, hook)
    assert (delivery["state"], delivery["attempts"], delivery["error"]) == ("delivered", 2, None)


def test_a_receiver_that_took_nothing_for_a_day_is_disabled_until_it_is_enabled(
    any_hub: HubUnderTest, receiver: Receiver
) -> None:
    hook = create(any_hub, receiver)
    any_hub.publish()
    receiver.status = 500
    give_up(any_hub)
    (delivery,) = deliveries(any_hub, hook)
    assert (delivery["state"], delivery["next_attempt_at"]) == ("failed", None)
    (shown,) = any_hub.user.get("/v1/webhooks").json()["webhooks"]
    assert shown["disabled_at"] is not None
    any_hub.publish(version="0.2.0")
    assert len(deliveries(any_hub, hook)) == 1

    receiver.status = 200
    enabled = any_hub.user.post(f"/v1/webhooks/{hook['id']}/enable").json()
    assert enabled["disabled_at"] is None
    any_hub.publish(version="0.3.0")
    assert send_due(any_hub.resources) == 1
    assert [item["state"] for item in deliveries(any_hub, hook)] == ["delivered", "failed"]


def test_one_change_that_is_not_taken_disables_nobody_who_takes_others(
    hub: HubUnderTest, receiver: Receiver
) -> None:
    hook = create(hub, receiver)
    hub.publish()
    receiver.status = 500
    send_due(hub.resources)
    hub.clock.advance(1)
    hub.publish(version="0.2.0")
    receiver.status = 200
    send_due(hub.resources)
    receiver.status = 500
    give_up(hub)
    assert [item["state"] for item in deliveries(hub, hook)] == ["delivered", "failed"]
    (shown,) = hub.user.get("/v1/webhooks").json()["webhooks"]
    assert shown["disabled_at"] is None


def test_a_delivery_is_sent_once_more_when_asked(hub: HubUnderTest, receiver: Receiver) -> None:
    hook = create(hub, receiver)
    hub.publish()
    send_due(hub.resources)
    (delivery,) = deliveries(hub, hook)
    answer = hub.user.post(f"/v1/webhooks/{hook['id']}/deliveries/{delivery['id']}/redeliver")
    assert (answer.status_code, answer.json()["state"]) == (200, "waiting")
    assert send_due(hub.resources) == 1
    assert [headers["Freesolo-Delivery"] for headers, _ in receiver.got] == [
        str(delivery["id"])
    ] * 2


def test_two_hubs_that_send_at_once_do_not_send_the_same(
    any_hub: HubUnderTest, receiver: Receiver
) -> None:
    create(any_hub, receiver)
    for patch in range(4):
        any_hub.publish(version=f"0.1.{patch}")
    now = any_hub.resources.clock()
    with any_hub.resources.sessions.begin() as session:
        first = outbox.take(session, now=now, limit=3)
    with any_hub.resources.sessions.begin() as session:
        second = outbox.take(session, now=now, limit=3)
    assert (len(first), len(second)) == (3, 1)
    assert not {parcel.delivery_id for parcel in first} & {parcel.delivery_id for parcel in second}


def test_what_a_hub_took_and_died_with_is_sent_by_another(
    any_hub: HubUnderTest, receiver: Receiver
) -> None:
    create(any_hub, receiver)
    any_hub.publish()
    with any_hub.resources.sessions.begin() as session:
        (lost,) = outbox.take(session, now=any_hub.resources.clock(), limit=1)
    assert send_due(any_hub.resources) == 0
    any_hub.clock.advance(121)
    assert send_due(any_hub.resources) == 1
    # The first one was only slow, and comes back to find that it no longer counts.
    with any_hub.resources.sessions.begin() as session:
        outbox.settle(session, lost, outbox.Outcome(error="Late."), now=any_hub.resources.clock())
        assert session.scalars(select(WebhookDelivery.state)).all() == ["delivered"]


def test_a_redirect_is_not_followed(hub: HubUnderTest, receiver: Receiver) -> None:
    hook = create(hub, receiver)
    hub.publish()
    receiver.status, receiver.headers = 307, {"Location": receiver.url}
    send_due(hub.resources)
    assert len(receiver.got) == 1
    assert deliveries(hub, hook)[0]["error"] == "It answered 307."


def test_a_receiver_that_keeps_us_waiting_is_hung_up_on(
    hub: HubUnderTest, receiver: Receiver
) -> None:
    hook = create(hub, receiver)
    hub.publish()
    receiver.may_answer.clear()
    send_due(hub.resources, deadline=0.2)
    (delivery,) = deliveries(hub, hook)
    assert (delivery["state"], delivery["status_code"]) == ("waiting", None)
    assert delivery["error"] == "It did not answer within 0.2 seconds."


def test_a_receiver_that_is_not_there_is_tried_again(hub: HubUnderTest, receiver: Receiver) -> None:
    hook = create(hub, replace(receiver, url="http://127.0.0.1:9/hook"))
    hub.publish()
    send_due(hub.resources)
    (delivery,) = deliveries(hub, hook)
    assert delivery["state"] == "waiting"
    assert delivery["error"].startswith("It cannot be reached")


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "http://localhost:8420/",
        "http://[::1]/",
        "http://10.0.0.1/",
        "http://169.254.169.254/latest/meta-data/",
        "http://2130706433/",
        "ftp://93.184.216.34/",
        "http://user:secret@93.184.216.34/",
        "nonsense",
        "",
    ],
)
def test_an_address_that_may_not_be_sent_to_is_refused_at_once(
    hub_settings: HubSettings, url: str
) -> None:
    with HubUnderTest(hub_settings, SettableClock()) as hub:
        response = hub.user.post("/v1/webhooks", json={"url": url})
        assert (response.status_code, error_of(response)["code"]) == (422, "invalid_input")
        assert hub.user.get("/v1/webhooks").json() == {"webhooks": []}


def test_metadata_addresses_are_refused_even_where_private_networks_are_allowed(
    hub: HubUnderTest,
) -> None:
    response = hub.user.post("/v1/webhooks", json={"url": "http://169.254.169.254/"})
    assert response.status_code == 422
    assert "169.254.169.254" in error_of(response)["message"]


def test_an_address_that_became_private_is_not_sent_to(
    hub: HubUnderTest, receiver: Receiver
) -> None:
    hook = create(hub, receiver)
    hub.publish()
    settings = hub.resources.settings.model_copy(update={"webhook_private_networks": False})
    send_due(replace(hub.resources, settings=settings))
    assert receiver.got == []
    assert "may not be sent" in deliveries(hub, hook)[0]["error"]


def test_the_secret_is_shown_once_and_kept_encrypted_with_the_address(
    hub: HubUnderTest, receiver: Receiver
) -> None:
    hook = create(hub, receiver)
    assert hook["secret"].startswith("whsec_")
    assert hook["secret"] not in hub.user.get("/v1/webhooks").text
    with hub.resources.readers() as session:
        stored = session.execute(select(Webhook.secret, Webhook.url)).one()
        events = [vars(event) for event in session.scalars(select(AuditEvent))]
    assert hook["secret"].encode() not in stored.secret
    assert hook["url"].encode() not in stored.url
    assert hook["secret"] not in str(events)


def test_a_removed_webhook_is_told_nothing_more(hub: HubUnderTest, receiver: Receiver) -> None:
    hook = create(hub, receiver)
    hub.publish()
    assert hub.user.delete(f"/v1/webhooks/{hook['id']}").status_code == 204
    assert send_due(hub.resources) == 0
    assert hub.user.get("/v1/webhooks").json() == {"webhooks": []}
    again = hub.user.delete(f"/v1/webhooks/{hook['id']}")
    assert (again.status_code, error_of(again)["code"]) == (404, "webhook_not_found")


def test_webhooks_are_for_admins_of_their_org(hub: HubUnderTest, receiver: Receiver) -> None:
    hook = create(hub, receiver)
    member = hub.client(key_of(hub, role=Role.MEMBER))
    confined = hub.client(key_of(hub, role=Role.OWNER, patterns=("local/a*",)))
    for client in (member, confined):
        assert client.get("/v1/webhooks").status_code == 403
        assert client.post("/v1/webhooks", json={"url": receiver.url}).status_code == 403
        assert client.delete(f"/v1/webhooks/{hook['id']}").status_code == 403
    stranger = hub.client(hub.make_member("other"))
    calls: list[Callable[[], Any]] = [
        lambda: stranger.delete(f"/v1/webhooks/{hook['id']}"),
        lambda: stranger.post(f"/v1/webhooks/{hook['id']}/enable"),
        lambda: stranger.get(f"/v1/webhooks/{hook['id']}/deliveries"),
        lambda: stranger.post(f"/v1/webhooks/{hook['id']}/deliveries/1/redeliver"),
    ]
    assert [call().status_code for call in calls] == [404] * 4


def test_deliveries_are_listed_page_by_page(hub: HubUnderTest, receiver: Receiver) -> None:
    hook = create(hub, receiver)
    for patch in range(3):
        hub.publish(version=f"0.1.{patch}")
    path = f"/v1/webhooks/{hook['id']}/deliveries"
    first = hub.user.get(path, params={"limit": 2}).json()
    rest = hub.user.get(path, params={"limit": 2, "cursor": first["next_cursor"]}).json()
    versions = [item["version"] for item in first["deliveries"] + rest["deliveries"]]
    assert versions == ["0.1.2", "0.1.1", "0.1.0"]
    assert rest["next_cursor"] is None
    assert hub.user.get(path, params={"cursor": "x"}).status_code == 422


def test_an_org_has_so_many_webhooks_at_most(hub: HubUnderTest, receiver: Receiver) -> None:
    for _ in range(20):
        create(hub, receiver)
    response = hub.user.post("/v1/webhooks", json={"url": receiver.url})
    assert (response.status_code, error_of(response)["code"]) == (429, "limit_exceeded")


def test_a_started_hub_sends_by_itself(hub_settings: HubSettings, receiver: Receiver) -> None:
    settings = hub_settings.model_copy(update={"webhook_private_networks": True})
    with HubUnderTest(settings, SettableClock()) as hub:
        create(hub, receiver)
        hub.publish()
        assert receiver.arrived.wait(10)


def give_up(hub: HubUnderTest) -> None:
    """Try until nothing waits any more."""
    for _ in range(20):
        hub.clock.advance(6 * 3600)
        if not send_due(hub.resources):
            return
    raise AssertionError("It is still tried.")


def key_of(hub: HubUnderTest, *, role: Role, patterns: tuple[str, ...] = ()) -> str:
    with hub.resources.sessions.begin() as session:
        org = accounts.ensure_org(session, "local", now=hub.clock())
        plan = accounts.KeyPlan("other", USER_SCOPES, role=role, patterns=patterns)
        return accounts.create_key(session, org, plan, now=hub.clock()).secret
