"""Publish versions: what is taken, what is refused, and who wins at once."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response
from sqlalchemy import event

from freesolo.domain.roles import Role
from freesolo.package.archive import Archive
from freesolo.schemas.accounts import USER_SCOPES
from hub_server.accounts import service as accounts
from tests.component.hub.harness import HubUnderTest, error_of
from tests.factories import ENVIRONMENT_PY, content_digest, make_environment, pack_folder


def test_publishing_answers_with_the_digests_of_what_was_sent(hub: HubUnderTest) -> None:
    archive = hub.pack()
    response = hub.send(archive, "agree", "0.1.0")
    assert response.status_code == 201
    assert response.json() | {"published_at": None} == {
        "ref": "local/agree",
        "version": "0.1.0",
        "tree_digest": archive.tree_digest,
        "archive_digest": archive.archive_digest,
        "size": archive.size,
        "status": "created",
        "state": "published",
        "published_at": None,
    }


def test_publishing_the_same_tree_again_changes_nothing(hub: HubUnderTest) -> None:
    first = hub.publish()
    response = hub.send(hub.pack(), "agree", "0.1.0")
    assert response.status_code == 200
    assert response.json() == first | {"status": "unchanged"}


def test_publishing_another_tree_under_a_version_is_a_conflict_naming_both_digests(
    hub: HubUnderTest,
) -> None:
    first = hub.publish()
    other = hub.pack(comment="changed")
    error = error_of(response := hub.send(other, "agree", "0.1.0"))
    assert response.status_code == 409
    assert error["code"] == "version_exists_conflict"
    assert first["tree_digest"] in error["message"]
    assert other.tree_digest in error["message"]


def test_two_ways_to_write_a_version_are_one_version(hub: HubUnderTest) -> None:
    first = hub.publish(version="1.0")
    response = hub.send(hub.pack(version="1.0.0"), "agree", "1.0.0")
    assert response.status_code == 409
    assert f"local/agree 1.0 is already published as {first['tree_digest']}" in response.text


def test_of_two_that_publish_different_trees_at_once_one_wins(any_hub: HubUnderTest) -> None:
    archives = [any_hub.pack(comment=f"by {author}") for author in ("me", "you")]
    with ThreadPoolExecutor() as threads:
        sent = threads.map(lambda archive: any_hub.send(archive, "agree", "0.1.0"), archives)
        statuses = sorted(response.status_code for response in sent)
    assert statuses == [201, 409]


def test_two_that_publish_a_new_name_at_once_share_it(any_hub: HubUnderTest) -> None:
    archives = {version: any_hub.pack("agree", version) for version in ("1.0", "2.0")}
    with ThreadPoolExecutor() as threads:
        sent = threads.map(
            lambda version: any_hub.send(archives[version], "agree", version), archives
        )
        assert [response.status_code for response in sent] == [201, 201]
    listed = any_hub.user.get("/v1/envs").json()["environments"]
    assert [(each["ref"], each["latest_version"]) for each in listed] == [("local/agree", "2.0")]


def test_names_that_differ_only_in_case_and_separators_are_one_environment(
    hub: HubUnderTest,
) -> None:
    hub.publish("my-task", "1.0")
    assert hub.publish("My_Task", "1.1")["ref"] == "local/my-task"


def test_an_archive_damaged_on_the_way_is_refused(hub: HubUnderTest) -> None:
    archive = hub.pack()
    wrong = content_digest(f"sha256:{'0' * 64}")
    response = hub.send(archive, "agree", "0.1.0", **{"Content-Digest": wrong})
    assert (response.status_code, error_of(response)["code"]) == (422, "invalid_input")
    assert archive.archive_digest in error_of(response)["message"]
    assert list(hub.resources.blobs.staging.iterdir()) == []


def test_a_content_digest_that_is_none_is_refused(hub: HubUnderTest) -> None:
    response = hub.send(hub.pack(), "agree", "0.1.0", **{"Content-Digest": "md5=:abc=:"})
    assert "Content-Digest: sha-256" in error_of(response)["hint"]


def test_a_tree_digest_that_is_not_the_archives_is_refused(hub: HubUnderTest) -> None:
    response = hub.send(hub.pack(), "agree", "0.1.0", **{"X-Tree-Digest": f"sha256:{'0' * 64}"})
    assert response.status_code == 422


@pytest.mark.parametrize(
    ("name", "version", "what"), [("other", "0.1.0", "name"), ("agree", "0.2.0", "version")]
)
def test_a_manifest_must_agree_with_the_address(
    hub: HubUnderTest, name: str, version: str, what: str
) -> None:
    error = error_of(hub.send(hub.pack(), name, version))
    assert error["code"] == "invalid_manifest"
    assert f"says {what}" in error["message"]


def test_a_manifest_that_is_too_long_to_be_one_is_refused(hub: HubUnderTest) -> None:
    folder = make_environment(hub.path / "long")
    with (folder / "environment.toml").open("a") as file:
        file.write("# \n" * 100_000)
    error = error_of(hub.send(pack_folder(folder), "agree", "0.1.0"))
    assert error["code"] == "invalid_manifest"
    assert "more than 262144 bytes" in error["message"]


def test_an_archive_without_an_entry_point_is_refused(hub: HubUnderTest) -> None:
    folder = hub.path / "empty"
    folder.mkdir()
    (folder / "README.md").write_text("nothing here")
    response = hub.send(pack_folder(folder), "empty", "1.0")
    assert error_of(response)["code"] == "invalid_environment"


def test_an_archive_that_holds_a_secret_is_refused_without_repeating_it(hub: HubUnderTest) -> None:
    secret = "fslo_" + "a1B2" * 10
    sent = hub.send(hub.pack(comment=f"first line\nkey = {secret}"), "agree", "0.1.0")
    problem = error_of(sent)["problems"][0]
    assert (problem["path"], problem["code"]) == ("README.md:2", "secret_found")
    assert secret not in sent.text


def test_an_environment_without_a_manifest_can_be_published(hub: HubUnderTest) -> None:
    folder = hub.path / "bare"
    folder.mkdir()
    (folder / "environment.py").write_text(ENVIRONMENT_PY)
    response = hub.send(pack_folder(folder), "bare", "0.1.0")
    assert (response.status_code, response.json()["ref"]) == (201, "local/bare")


@pytest.mark.parametrize("version", ["newest", f"1.{'0' * 90}", f"1.{'9' * 5000}"])
def test_what_is_no_version_is_refused(hub: HubUnderTest, version: str) -> None:
    response = hub.send(hub.pack(), "agree", version)
    assert response.status_code == 422
    assert f"{version!r} is not a version" in error_of(response)["message"]


def test_a_body_over_the_limit_is_refused_before_it_is_read(hub: HubUnderTest) -> None:
    archive = hub.pack()
    response = hub.send(archive, "agree", "0.1.0", **{"Content-Length": str(1 << 30)})
    assert (response.status_code, error_of(response)["code"]) == (413, "limit_payload")


def test_publishing_to_another_org_is_forbidden(hub: HubUnderTest) -> None:
    response = hub.user.put("/v1/envs/acme/agree/versions/1.0", headers={"Content-Digest": "x"})
    assert response.status_code == 403


def test_a_conflict_shows_how_the_trees_differ(hub: HubUnderTest) -> None:
    place = hub.path / "agree-0.1.0-first"
    hub.publish(comment="first")
    (place / "README.md").unlink()
    (place / "notes.txt").write_text("new")
    (place / "environment.py").write_text(f"{ENVIRONMENT_PY}\n# changed\n")
    error = error_of(hub.send(pack_folder(place), "agree", "0.1.0"))
    assert [(problem["path"], problem["code"]) for problem in error["problems"]] == [
        ("README.md", "removed"),
        ("environment.py", "changed"),
        ("notes.txt", "added"),
    ]


def test_a_version_says_whether_it_is_there(hub: HubUnderTest) -> None:
    digest = hub.publish(version="1.0")["tree_digest"]
    path = "/v1/envs/local/agree/versions"
    assert hub.user.head(f"{path}/1.0.0").headers["etag"] == f'"{digest}"'
    assert hub.user.head(f"{path}/2.0").status_code == 404
    hub.user.delete(f"{path}/1.0")
    assert hub.user.head(f"{path}/1.0").status_code == 410


@pytest.mark.parametrize("name", ["latest", "Freesolo", "simple"])
def test_a_reserved_name_is_refused(hub: HubUnderTest, name: str) -> None:
    response = hub.send(hub.pack(name), name, "0.1.0")
    assert (response.status_code, error_of(response)["code"]) == (422, "invalid_ref")


def test_a_name_that_looks_like_another_is_refused(hub: HubUnderTest) -> None:
    hub.publish("tool-use")
    response = hub.send(hub.pack("too1use"), "too1use", "0.1.0")
    assert (response.status_code, error_of(response)["code"]) == (409, "name_taken_conflict")
    assert "local/tool-use" in error_of(response)["message"]


def test_of_two_names_that_look_alike_one_is_made(any_hub: HubUnderTest) -> None:
    archives = {name: any_hub.pack(name) for name in ("tool-use", "too1use", "tooluse")}
    with ThreadPoolExecutor() as threads:
        sent = threads.map(lambda name: any_hub.send(archives[name], name, "0.1.0"), archives)
        statuses = sorted(response.status_code for response in sent)
    assert statuses == [201, 409, 409]


def send_as(client: TestClient, archive: Archive, path: str) -> Response:
    """Publish an archive to `org/name/versions/version`."""
    return client.put(
        f"/v1/envs/{path}",
        content=archive.path.read_bytes(),
        headers={"Content-Digest": content_digest(archive.archive_digest)},
    )


def test_a_stranger_cannot_tell_a_private_environment_from_none(hub: HubUnderTest) -> None:
    hub.publish("there")
    hub.publish("renamed")
    hub.user.post("/v1/envs/local/renamed/rename", json={"name": "hidden"})
    stranger = hub.client(hub.make_member("acme"))
    refusals = {
        send_as(stranger, hub.pack(name), f"local/{name}/versions/0.1.0").text
        for name in ("there", "renamed", "hidden", "gone")
    }
    assert len(refusals) == 1
    assert "cannot publish to 'local'" in refusals.pop()


def test_a_key_confined_to_other_environments_cannot_tell_either(hub: HubUnderTest) -> None:
    hub.publish("there")
    with hub.resources.sessions.begin() as session:
        org = accounts.ensure_org(session, "local", now=hub.clock())
        plan = accounts.KeyPlan("narrow", USER_SCOPES, role=Role.OWNER, patterns=("local/mine*",))
        narrow = hub.client(accounts.create_key(session, org, plan, now=hub.clock()).secret)
    refusals = {
        send_as(narrow, hub.pack(name), f"local/{name}/versions/0.1.0").text
        for name in ("there", "gone")
    }
    assert len(refusals) == 1
    mine = send_as(narrow, hub.pack("mine-too"), "local/mine-too/versions/0.1.0")
    assert mine.status_code == 201


@contextmanager
def statements(hub: HubUnderTest) -> Iterator[list[str]]:
    """Collect what the hub asks of its tables of environments in the block."""
    found: list[str] = []

    def note(*arguments: object) -> None:
        # Of other tables the hub asks on its own account too, whenever it is its time.
        if re.search(r"(FROM|INTO|UPDATE) (environment|version)", statement := str(arguments[2])):
            found.append(statement)

    with hub.resources.sessions() as session:
        engine = session.get_bind().engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        yield found
    finally:
        event.remove(engine, "before_cursor_execute", note)


def test_a_publish_and_a_resolve_cost_the_same_however_many_versions_there_are(
    hub: HubUnderTest,
) -> None:
    def asked(version: str) -> list[str]:
        archive = hub.pack(version=version)
        with statements(hub) as found:
            assert hub.send(archive, "agree", version).status_code == 201
            for spec in ("", version, archive.tree_digest):
                answer = hub.user.get("/v1/envs/local/agree/resolve", params={"spec": spec})
                assert answer.json()["version"] == version
        return found

    for version in ("1.0", "1.1"):
        hub.publish(version=version)
    few = asked("1.2")
    for minor in range(3, 12):
        hub.publish(version=f"1.{minor}")
    many = asked("1.12")
    assert len(many) == len(few)
    chosen = [text for text in many if "FROM environment_versions" in text]
    # Of each, the rows of one number or of one digest.
    assert all("version_key = ?" in text or "tree_digest = ?" in text for text in chosen)
    assert len(chosen) == 4
