"""What is answered from memory is what would be answered without it."""

from collections.abc import Iterator

import pytest
import zstandard
from sqlalchemy import event
from sqlalchemy.orm import Session

from hub_server.models import Environment
from tests.component.hub.harness import Document, HubUnderTest, SettableClock
from tests.factories import content_digest

RESOLVE = "/v1/envs/local/agree/resolve"
INDEX = "/v1/envs/local/agree/index"


@pytest.fixture
def other_process(any_hub: HubUnderTest) -> Iterator[HubUnderTest]:
    """A second hub on the same database: all that they share is that."""
    with HubUnderTest(any_hub.resources.settings, SettableClock()) as other:
        other.user.headers["Authorization"] = any_hub.user.headers["Authorization"]
        yield other


def resolved(hub: HubUnderTest, spec: str = "") -> str:
    """Return the version that a selector means, asked twice: the second time from memory."""
    answers = [hub.user.get(RESOLVE, params={"spec": spec}) for _ in range(2)]
    assert answers[0].content == answers[1].content
    return str(answers[1].json()["version"])


def indexed(hub: HubUnderTest) -> Document:
    """Return the index, asked twice: the second time from memory."""
    answers = [hub.user.get(INDEX) for _ in range(2)]
    assert answers[0].content == answers[1].content
    document: Document = answers[1].json()
    return document


def test_a_publish_is_seen_at_once(any_hub: HubUnderTest) -> None:
    any_hub.publish(version="0.1.0")
    assert resolved(any_hub) == "0.1.0"
    any_hub.publish(version="0.2.0")
    assert resolved(any_hub) == "0.2.0"
    assert [entry["version"] for entry in indexed(any_hub)["versions"]] == ["0.2.0", "0.1.0"]


def test_a_publish_of_another_process_is_seen_at_once(
    any_hub: HubUnderTest, other_process: HubUnderTest
) -> None:
    any_hub.publish(version="0.1.0")
    assert (resolved(any_hub), resolved(other_process)) == ("0.1.0", "0.1.0")
    other_process.publish(version="0.2.0")
    assert (resolved(any_hub), resolved(other_process)) == ("0.2.0", "0.2.0")


def test_a_change_elsewhere_leaves_an_answer_as_it_is(any_hub: HubUnderTest) -> None:
    any_hub.publish(version="0.1.0")
    etag = any_hub.user.get(RESOLVE).headers["etag"]
    any_hub.publish("unrelated")
    assert any_hub.user.get(RESOLVE).headers["etag"] == etag


def test_who_has_the_answer_is_told_that_it_holds(hub: HubUnderTest) -> None:
    hub.publish(version="0.1.0")
    etag = hub.user.get(RESOLVE).headers["etag"]
    for _ in range(2):
        answer = hub.user.get(RESOLVE, headers={"If-None-Match": etag})
        assert (answer.status_code, answer.content) == (304, b"")
        assert answer.headers["etag"] == etag
    hub.publish(version="0.2.0")
    assert hub.user.get(RESOLVE, headers={"If-None-Match": etag}).status_code == 200


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [
        ("gzip", "gzip"),
        ("br, zstd, gzip", "zstd"),
        ("zstd;q=0, gzip;q=0.5", "gzip"),
        ("identity", None),
    ],
)
def test_an_index_comes_in_an_encoding_that_is_accepted(
    hub: HubUnderTest, accepted: str, encoding: str | None
) -> None:
    for minor in range(5):
        hub.publish(version=f"0.{minor}.0")
    plain = hub.user.get(INDEX, headers={"Accept-Encoding": "identity"})
    for _ in range(2):
        answer = hub.user.get(INDEX, headers={"Accept-Encoding": accepted})
        assert answer.headers.get("content-encoding") == encoding
        assert (int(answer.headers["content-length"]) < len(plain.content)) == bool(encoding)
        # Of zstd this client knows nothing; gzip it has decoded already.
        decode = zstandard.decompress if encoding == "zstd" else bytes
        assert decode(answer.content) == plain.content


def test_a_key_that_was_revoked_stops_to_count_within_a_second(any_hub: HubUnderTest) -> None:
    any_hub.publish()
    made = any_hub.user.post("/v1/keys", json={"name": "ci", "scopes": ["environments:read"]})
    assert made.status_code == 201, made.text
    ci = any_hub.client(made.json()["api_key"])
    assert ci.get(RESOLVE).status_code == 200
    assert any_hub.user.delete(f"/v1/keys/{made.json()['id']}").is_success
    any_hub.clock.advance(1)
    assert ci.get(RESOLVE).status_code == 401


def test_what_one_may_read_is_not_told_to_another(any_hub: HubUnderTest) -> None:
    any_hub.publish()
    resolved(any_hub)
    indexed(any_hub)
    stranger = any_hub.client(any_hub.make_member("other"))
    for client, status in ((stranger, 404), (any_hub.client(None), 404)):
        assert {client.get(path).status_code for path in (RESOLVE, INDEX)} == {status}
    assert any_hub.client("fslo_nobody").get(RESOLVE).status_code == 401


def test_closing_an_environment_counts_at_once(any_hub: HubUnderTest) -> None:
    any_hub.publish()
    visibility = "/v1/envs/local/agree/visibility"
    assert any_hub.user.put(visibility, json={"visibility": "public"}).is_success
    nobody = any_hub.client(None)
    assert [nobody.get(INDEX).status_code for _ in range(2)] == [200, 200]
    assert any_hub.user.put(visibility, json={"visibility": "private"}).is_success
    assert nobody.get(INDEX).status_code == 404


def test_a_staged_version_is_told_to_writers_alone(any_hub: HubUnderTest) -> None:
    any_hub.publish(version="0.1.0")
    archive = any_hub.pack(version="0.2.0")
    path = "/v1/envs/local/agree/versions/0.2.0?stage=true"
    headers = {"Content-Digest": content_digest(archive.archive_digest)}
    assert any_hub.user.put(path, content=archive.path.read_bytes(), headers=headers).is_success
    any_hub.user.put("/v1/envs/local/agree/visibility", json={"visibility": "public"})
    assert resolved(any_hub, "0.2.0") == "0.2.0"
    answer = any_hub.client(None).get(RESOLVE, params={"spec": "0.2.0"})
    assert answer.status_code == 404


def test_every_answer_is_logged_and_counted_by_its_route(hub: HubUnderTest) -> None:
    hub.publish()
    for _ in range(3):
        hub.user.get(RESOLVE)
    page = hub.resources.metrics.page().decode()
    line = 'freesolo_http_requests_total{method="GET",route="/v1/envs/{org}/{name}/resolve",status="200"} 3.0'
    assert line in page


def test_a_download_is_the_same_from_memory_and_is_counted_each_time(any_hub: HubUnderTest) -> None:
    any_hub.publish()
    path = "/v1/envs/local/agree/versions/0.1.0/archive"
    first, second = any_hub.user.get(path), any_hub.user.get(path)
    assert first.content == second.content
    assert first.headers["content-digest"] == second.headers["content-digest"]
    assert any_hub.user.get(path, headers={"Range": "bytes=0-3"}).content == first.content[:4]
    any_hub.resources.uses.write(any_hub.resources.sessions)
    found = any_hub.user.get("/v1/search", params={"q": "agree"}).json()["results"]
    # A part belongs to a download that was counted already.
    assert [result["downloads"] for result in found] == [2]


def test_a_download_stops_with_the_right_to_it(any_hub: HubUnderTest) -> None:
    any_hub.publish()
    path, visibility = (
        "/v1/envs/local/agree/versions/0.1.0/archive",
        "/v1/envs/local/agree/visibility",
    )
    any_hub.user.put(visibility, json={"visibility": "public"})
    nobody = any_hub.client(None)
    assert [nobody.get(path).status_code for _ in range(2)] == [200, 200]
    any_hub.user.put(visibility, json={"visibility": "private"})
    assert nobody.get(path).status_code == 404


def test_what_changes_while_a_page_is_made_is_on_the_next_one(any_hub: HubUnderTest) -> None:
    any_hub.publish()
    page = "/simple-env/local/agree/fsenv-local-agree/"
    yanked: list[Environment] = []

    def yank_once(session: Session, loaded: object) -> None:
        if isinstance(loaded, Environment) and not yanked:
            yanked.append(loaded)
            path = "/v1/envs/local/agree/versions/0.1.0/yank"
            assert any_hub.user.put(path, json={"reason": "It scores wrongly."}).is_success

    event.listen(any_hub.resources.readers, "loaded_as_persistent", yank_once)
    assert any_hub.user.get(page).status_code == 200
    assert "data-yanked" in any_hub.user.get(page).text
