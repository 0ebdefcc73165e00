"""Publish, resolve, list and download environments."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.component.hub.harness import HubUnderTest, error_of
from tests.factories import ENVIRONMENT_PY, content_digest, pack_folder


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


def test_an_archive_without_an_entry_point_is_refused(hub: HubUnderTest) -> None:
    folder = hub.path / "empty"
    folder.mkdir()
    (folder / "README.md").write_text("nothing here")
    response = hub.send(pack_folder(folder), "empty", "1.0")
    assert error_of(response)["code"] == "invalid_environment"


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


@pytest.mark.parametrize(
    ("selector", "version"),
    [
        ("", "1.10"),
        ("latest", "1.10"),
        ("1.2", "1.2"),
        ("1.2.0", "1.2"),
        (">=1,<1.10", "1.2"),
        (">=2.0rc1", "2.0rc1"),
        ("2.0rc1", "2.0rc1"),
    ],
)
def test_a_selector_chooses_a_version(hub: HubUnderTest, selector: str, version: str) -> None:
    for published in ("1.2", "1.10", "2.0rc1"):
        hub.publish(version=published)
    found = hub.user.get("/v1/envs/local/agree/resolve", params={"spec": selector})
    assert found.json()["version"] == version


def test_a_digest_chooses_the_version_that_has_it(hub: HubUnderTest) -> None:
    old = hub.publish(version="1.0")
    hub.publish(version="1.1")
    found = hub.user.get("/v1/envs/local/agree/resolve", params={"spec": old["tree_digest"]})
    assert found.json()["version"] == "1.0"


def test_an_unknown_version_is_answered_with_the_nearest(hub: HubUnderTest) -> None:
    hub.publish(version="1.2.3")
    found = hub.user.get("/v1/envs/local/agree/resolve", params={"spec": "1.2.4"})
    assert (found.status_code, error_of(found)["code"]) == (404, "version_not_found")
    assert error_of(found)["hint"] == "Did you mean `1.2.3`?"


def test_an_unknown_channel_is_a_version_not_found(hub: HubUnderTest) -> None:
    hub.publish()
    found = hub.user.get("/v1/envs/local/agree/resolve", params={"spec": "stable"})
    assert error_of(found)["code"] == "version_not_found"


def test_an_environment_with_only_pre_releases_has_no_latest_release(hub: HubUnderTest) -> None:
    hub.publish(version="1.0a1")
    found = hub.user.get("/v1/envs/local/agree/resolve")
    assert "`local/agree@1.0a1`" in error_of(found)["hint"]


def test_an_unknown_environment_is_answered_with_the_nearest(hub: HubUnderTest) -> None:
    hub.publish()
    found = hub.user.get("/v1/envs/local/agre")
    assert (found.status_code, error_of(found)["code"]) == (404, "environment_not_found")
    assert error_of(found)["hint"] == "Did you mean `local/agree`?"


def test_an_environment_of_another_org_does_not_exist(hub: HubUnderTest) -> None:
    hub.publish()
    stranger = hub.client(hub.make_member("acme"))
    assert stranger.get("/v1/envs/local/agree").status_code == 404
    assert stranger.get("/v1/envs").json()["environments"] == []


def test_an_environment_shows_its_versions_newest_first(hub: HubUnderTest) -> None:
    for version in ("1.9", "1.10", "1.1"):
        hub.publish(version=version)
    shown = hub.user.get("/v1/envs/local/agree").json()
    assert [version["version"] for version in shown["versions"]] == ["1.10", "1.9", "1.1"]


def test_a_listing_is_read_page_by_page(hub: HubUnderTest) -> None:
    for name in ("one", "two", "three"):
        hub.publish(name)
    first = hub.user.get("/v1/envs", params={"limit": 2}).json()
    rest = hub.user.get("/v1/envs", params={"limit": 2, "cursor": first["next_cursor"]}).json()
    refs = [each["ref"] for each in first["environments"] + rest["environments"]]
    assert refs == ["local/one", "local/three", "local/two"]
    assert rest["next_cursor"] is None


@pytest.mark.parametrize("cursor", ["x", "bnVsbA==", "WzFd"])
def test_a_cursor_that_the_hub_did_not_make_is_refused(hub: HubUnderTest, cursor: str) -> None:
    assert hub.user.get("/v1/envs", params={"cursor": cursor}).status_code == 422


def test_the_archive_comes_back_byte_for_byte(hub: HubUnderTest) -> None:
    archive = hub.pack()
    hub.send(archive, "agree", "0.1.0")
    downloaded = hub.user.get("/v1/envs/local/agree/versions/0.1.0/archive")
    assert downloaded.content == archive.path.read_bytes()
    assert downloaded.headers["etag"] == f'"{archive.archive_digest}"'
