"""Resolve, list, show and download environments."""

import pytest

from tests.component.hub.harness import HubUnderTest, error_of


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
