"""The feed: gapless, chained, shown to each caller as far as they may see."""

from concurrent.futures import ThreadPoolExecutor

from freesolo.domain.feed import START, Link, verify_chain
from freesolo.domain.roles import Role, Visibility
from freesolo.schemas.accounts import USER_SCOPES
from freesolo.schemas.changes import FeedItem
from hub_server.accounts import service as accounts
from hub_server.models import Environment
from tests.component.hub.harness import Document, HubUnderTest, error_of
from tests.factories import content_digest

PUBLISHERS = 50


def feed(hub: HubUnderTest, key: str | None, **params: int) -> Document:
    response = hub.client(key).get("/v1/changes", params=params)
    assert response.status_code == 200, response.text
    document: Document = response.json()
    return document


def links(document: Document) -> list[Link]:
    return [Link(**FeedItem.model_validate(item).model_dump()) for item in document["changes"]]


def test_fifty_publishers_at_once_make_one_chain_without_a_gap(any_hub: HubUnderTest) -> None:
    # Half of them new environments, half of them versions of one.
    names = [("agree", f"0.1.{n}") if n % 2 else (f"agree-{n}", "0.1.0") for n in range(PUBLISHERS)]
    packed = [(any_hub.pack(name, version), name, version) for name, version in names]
    with ThreadPoolExecutor(PUBLISHERS) as pool:
        answers = list(pool.map(lambda each: any_hub.send(*each), packed))
    assert [answer.status_code for answer in answers] == [201] * PUBLISHERS
    told = feed(any_hub, any_hub.keys.user)
    head = verify_chain(links(told))
    assert (head.serial, head.hash) == (PUBLISHERS, told["head"]["hash"])
    published = {(item["entry"]["ref"], item["entry"]["version"]) for item in told["changes"]}
    assert published == {(f"local/{name}", version) for name, version in names}


def test_an_entry_tells_what_was_published(hub: HubUnderTest) -> None:
    published = hub.publish()
    (item,) = feed(hub, hub.keys.user)["changes"]
    assert item["entry"] == {
        "serial": 1,
        "kind": "version.published",
        "ref": "local/agree",
        "version": "0.1.0",
        "tree_digest": published["tree_digest"],
        "archive_digest": published["archive_digest"],
        "at": "2030-01-01T00:00:00+00:00",
        "data": {},
    }


def test_what_a_caller_may_not_see_is_a_hash_with_which_the_chain_still_verifies(
    any_hub: HubUnderTest,
) -> None:
    any_hub.publish("mine")
    any_hub.publish("open")
    publish_openly(any_hub, "open")
    for key in (None, any_hub.make_member("other")):
        told = feed(any_hub, key)
        assert [item["entry"] and item["entry"]["ref"] for item in told["changes"]] == [
            None,
            "local/open",
        ]
        assert "mine" not in str(told)
        assert told["changes"][0]["nonce"] is None
        assert verify_chain(links(told)).hash == told["head"]["hash"]


def test_a_staged_version_is_seen_by_writers_only(hub: HubUnderTest) -> None:
    hub.publish("open")
    publish_openly(hub, "open")
    response = hub.user.put(
        "/v1/envs/local/open/versions/0.2.0?stage=true",
        content=(archive := hub.pack("open", "0.2.0")).path.read_bytes(),
        headers={"Content-Digest": content_digest(archive.archive_digest)},
    )
    assert response.status_code == 201
    assert hub.user.delete("/v1/envs/local/open/versions/0.2.0").status_code == 204
    shown = {
        key: [item["entry"] is not None for item in feed(hub, key)["changes"]]
        for key in (hub.keys.user, None)
    }
    assert shown == {hub.keys.user: [True, True, True], None: [True, False, False]}


def test_a_key_that_is_confined_to_some_environments_sees_only_those(hub: HubUnderTest) -> None:
    hub.publish("agree")
    hub.publish("other")
    with hub.resources.sessions.begin() as session:
        org = accounts.ensure_org(session, "local", now=hub.clock())
        plan = accounts.KeyPlan("narrow", USER_SCOPES, role=Role.MEMBER, patterns=("local/a*",))
        key = accounts.create_key(session, org, plan, now=hub.clock()).secret
    shown = [item["entry"] is not None for item in feed(hub, key)["changes"]]
    assert shown == [True, False]


def test_a_page_follows_the_last_one(hub: HubUnderTest) -> None:
    for patch in range(3):
        hub.publish(version=f"0.1.{patch}")
    first = feed(hub, hub.keys.user, limit=2)
    rest = feed(hub, hub.keys.user, since=first["changes"][-1]["serial"], limit=2)
    assert [item["serial"] for item in first["changes"] + rest["changes"]] == [1, 2, 3]
    assert verify_chain(links(rest), after=verify_chain(links(first))).serial == 3
    assert feed(hub, hub.keys.user, since=99)["changes"] == []


def test_an_empty_feed_begins_where_every_feed_does(hub: HubUnderTest) -> None:
    told = feed(hub, None)
    assert told == {"changes": [], "head": {"serial": 0, "hash": START.hash}}
    assert hub.client(None).get("/v1/changes/head").json() == told["head"]


def test_a_number_that_no_change_has_is_refused(hub: HubUnderTest) -> None:
    for since in ("-1", "one", str(2**63)):
        response = hub.user.get("/v1/changes", params={"since": since})
        assert (response.status_code, error_of(response)["code"]) == (422, "invalid_input")


def publish_openly(hub: HubUnderTest, name: str) -> None:
    with hub.resources.sessions.begin() as session:
        environment = session.query(Environment).filter_by(name=name).one()
        environment.visibility = Visibility.PUBLIC
