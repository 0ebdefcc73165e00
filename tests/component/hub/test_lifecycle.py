"""What becomes of versions and environments after they are published."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response
from sqlalchemy import select

from freesolo.domain.roles import EnvironmentRole, Role
from freesolo.errors import BlobNotFound
from hub_server.lifecycle.service import RESTORABLE, forget_deleted
from hub_server.models import Change, Environment, EnvironmentGrant, EnvironmentVersion, Org
from hub_server.storage.service import GRACE
from hub_server.upkeep import sweep
from tests.component.hub.harness import Document, HubUnderTest, error_of
from tests.component.hub.people import FULL, make_key_of_org
from tests.factories import ENVIRONMENT_PY, content_digest, pack_folder

AGREE = "/v1/envs/local/agree"


def changes(hub: HubUnderTest) -> list[str]:
    """Return the kinds of all changes, oldest first."""
    with hub.resources.readers() as session:
        found = session.scalars(select(Change).order_by(Change.serial))
        return [str(change.entry["kind"]) for change in found]


def resolve(hub: HubUnderTest, spec: str = "", ref: str = "local/agree") -> Response:
    """Ask what a reference means."""
    return hub.user.get(f"/v1/envs/{ref}/resolve", params={"spec": spec})


def meaning(hub: HubUnderTest, spec: str = "", ref: str = "local/agree") -> str:
    """Return the version that a reference means, or the error's code."""
    answer = resolve(hub, spec, ref)
    return str(answer.json()["version"] if answer.is_success else error_of(answer)["code"])


def yank(hub: HubUnderTest, version: str, reason: str = "It scores wrongly.") -> Response:
    """Take a version of `local/agree` back."""
    return hub.user.put(f"{AGREE}/versions/{version}/yank", json={"reason": reason})


def tag(hub: HubUnderTest, channel: str, selector: str, **more: str) -> Response:
    """Move a channel of `local/agree`."""
    return hub.user.put(f"{AGREE}/channels/{channel}", json={"selector": selector, **more})


def shown(hub: HubUnderTest, path: str = AGREE) -> Document:
    """Return a document that the user may read."""
    answer = hub.user.get(path)
    assert answer.is_success, answer.text
    document: Document = answer.json()
    return document


def other_org(hub: HubUnderTest, slug: str = "acme") -> TestClient:
    """Return a client of somebody who owns another org."""
    return hub.client(hub.make_member(slug))


# Yank


def test_a_yanked_version_is_still_what_its_number_and_its_digest_mean(hub: HubUnderTest) -> None:
    digest = hub.publish(version="1.0")["tree_digest"]
    yank(hub, "1.0", "It scores wrongly.")
    for spec in ("1.0", digest):
        found = resolve(hub, spec).json()
        assert (found["version"], found["yanked"]) == ("1.0", True)
        assert found["yank_reason"] == "It scores wrongly."


def test_ranges_and_the_newest_release_never_mean_a_yanked_version(hub: HubUnderTest) -> None:
    for version in ("1.0", "1.1", "2.0rc1"):
        hub.publish(version=version)
    yank(hub, "1.1")
    assert [meaning(hub, spec) for spec in ("", ">=1", "latest")] == ["1.0"] * 3
    assert shown(hub)["latest_version"] == "1.0"
    yank(hub, "1.0")
    assert meaning(hub) == "version_not_found"
    assert shown(hub)["latest_version"] == "2.0rc1"


def test_what_is_unyanked_is_chosen_again(hub: HubUnderTest) -> None:
    for version in ("1.0", "1.1"):
        hub.publish(version=version)
        yank(hub, version)
    assert shown(hub)["latest_version"] == ""
    for version in ("1.1", "1.0"):
        assert hub.user.delete(f"{AGREE}/versions/{version}/yank").json()["yanked"] is False
        assert meaning(hub) == "1.1"


def test_an_environment_speaks_through_the_newest_version_that_stands(hub: HubUnderTest) -> None:
    hub.publish(version="1.0")
    folder = hub.path / "agree-1.1-"
    hub.pack(version="1.1")
    manifest = folder / "environment.toml"
    manifest.write_text(manifest.read_text().replace("Agree.", "Agree more."))
    hub.send(pack_folder(folder), "agree", "1.1")
    assert shown(hub)["summary"] == "Agree more."
    yank(hub, "1.1")
    assert shown(hub)["summary"] == "Agree."


def test_yanking_again_announces_nothing_but_another_reason(hub: HubUnderTest) -> None:
    hub.publish(version="1.0")
    for reason in ("first", "first", "second"):
        assert yank(hub, "1.0", reason).status_code == 200
    hub.user.delete(f"{AGREE}/versions/1.0/yank")
    hub.user.delete(f"{AGREE}/versions/1.0/yank")
    assert changes(hub)[1:] == ["version.yanked", "version.yanked", "version.unyanked"]


def test_a_yank_without_a_reason_is_refused(hub: HubUnderTest) -> None:
    hub.publish(version="1.0")
    assert yank(hub, "1.0", "").status_code == 422


def test_a_staged_version_cannot_be_yanked(hub: HubUnderTest) -> None:
    hub.publish(version="1.0")
    stage(hub, "2.0")
    assert (yank(hub, "2.0").status_code, "discards it" in yank(hub, "2.0").text) == (409, True)


# Channels


def test_a_channel_means_the_version_it_was_moved_to(hub: HubUnderTest) -> None:
    for version in ("1.0", "1.1"):
        hub.publish(version=version)
    moved = tag(hub, "stable", "1.0").json()
    assert (moved["selector"], moved["version"]) == ("1.0", "1.0")
    assert meaning(hub, "stable") == "1.0"
    tag(hub, "stable", "1.1.0")
    assert meaning(hub, "stable") == "1.1"


def test_a_channel_of_one_version_means_it_yanked_too_and_one_of_a_range_does_not(
    hub: HubUnderTest,
) -> None:
    for version in ("1.0", "1.1"):
        hub.publish(version=version)
    tag(hub, "pinned", "1.1")
    tag(hub, "one", ">=1,<2")
    yank(hub, "1.1")
    assert (meaning(hub, "pinned"), meaning(hub, "one")) == ("1.1", "1.0")
    assert resolve(hub, "pinned").json()["yanked"]


def test_a_channel_of_a_range_follows_new_versions(hub: HubUnderTest) -> None:
    hub.publish(version="1.0")
    tag(hub, "one", "<2,>=1")
    for version in ("1.5", "2.0"):
        hub.publish(version=version)
    assert meaning(hub, "one") == "1.5"
    versions = {each["version"]: each["channels"] for each in shown(hub)["versions"]}
    assert versions == {"2.0": [], "1.5": ["one"], "1.0": []}


@pytest.mark.parametrize("selector", ["", "beta", "latest"])
def test_what_is_no_range_is_pinned_to_the_version_it_means_now(
    hub: HubUnderTest, selector: str
) -> None:
    hub.publish(version="1.0")
    tag(hub, "beta", "1.0")
    tag(hub, "stable", selector)
    hub.publish(version="1.1")
    assert meaning(hub, "stable") == "1.0"


@pytest.mark.parametrize(
    "name", ["latest", "v1", "1.0", "Stable", "stable ", "a_b", ">=1", "x" * 33]
)
def test_a_channel_cannot_be_called_what_means_something_else(hub: HubUnderTest, name: str) -> None:
    hub.publish(version="1.0")
    assert tag(hub, name, "1.0").status_code == 422


def test_a_channel_stands_only_at_what_there_is_for_everybody(hub: HubUnderTest) -> None:
    hub.publish(version="1.0")
    stage(hub, "2.0")
    assert [tag(hub, "stable", spec).status_code for spec in ("3.0", ">=5", "2.0")] == [404] * 3
    assert changes(hub) == ["version.published", "version.staged"]


def test_the_history_of_a_channel_outlives_it(hub: HubUnderTest) -> None:
    for version in ("1.0", "1.1"):
        hub.publish(version=version)
        tag(hub, "stable", version)
        tag(hub, "stable", version)
    assert hub.user.delete(f"{AGREE}/channels/stable").status_code == 204
    assert hub.user.delete(f"{AGREE}/channels/stable").status_code == 204
    history = shown(hub, f"{AGREE}/channels/stable")
    assert history["channel"] is None
    assert [move["selector"] for move in history["moves"]] == [None, "1.1", "1.0"]
    assert {move["moved_by"] for move in history["moves"]} == {"key tests"}
    assert meaning(hub, "stable") == "version_not_found"
    assert changes(hub).count("channel.moved") == 2
    assert changes(hub)[-1] == "channel.removed"


def test_the_history_of_a_channel_is_read_page_by_page(hub: HubUnderTest) -> None:
    for version in ("1.0", "1.1", "1.2"):
        hub.publish(version=version)
        tag(hub, "stable", version)
    first = shown(hub, f"{AGREE}/channels/stable?limit=2")
    rest = shown(hub, f"{AGREE}/channels/stable?limit=2&cursor={first['next_cursor']}")
    assert [move["selector"] for move in first["moves"] + rest["moves"]] == ["1.2", "1.1", "1.0"]
    assert rest["next_cursor"] is None
    wrong = hub.user.get(f"{AGREE}/channels/stable", params={"cursor": "WyJ4Il0="})
    assert wrong.status_code == 422


def test_a_channel_that_never_was_is_not_found(hub: HubUnderTest) -> None:
    hub.publish()
    for method in ("GET", "DELETE"):
        answer = hub.user.request(method, f"{AGREE}/channels/stabel")
        assert (answer.status_code, error_of(answer)["code"]) == (404, "channel_not_found")


def test_a_channel_that_somebody_else_moved_stays(any_hub: HubUnderTest) -> None:
    for version in ("1.0", "1.1", "1.2"):
        any_hub.publish(version=version)
    assert tag(any_hub, "stable", "1.0", expected="").status_code == 200
    with ThreadPoolExecutor() as threads:
        moved = threads.map(
            lambda version: tag(any_hub, "stable", version, expected="1.0").status_code,
            ("1.1", "1.2"),
        )
        assert sorted(moved) == [200, 409]
    refusal = error_of(tag(any_hub, "stable", "1.0", expected="1.0"))
    assert refusal["code"] == "channel_moved_conflict"


# Deprecate, archive


def test_a_deprecated_environment_is_resolved_with_what_to_use_instead(hub: HubUnderTest) -> None:
    hub.publish()
    hub.publish("better")
    body = {"message": "Too easy", "successor": "local/better"}
    for _ in range(2):
        assert hub.user.put(f"{AGREE}/deprecation", json=body).status_code == 200
    found = resolve(hub).json()
    assert (found["deprecation"], found["successor"]) == ("Too easy", "local/better")
    for _ in range(2):
        hub.user.delete(f"{AGREE}/deprecation")
    assert resolve(hub).json()["deprecation"] is None
    assert changes(hub)[2:] == ["environment.deprecated", "environment.undeprecated"]


@pytest.mark.parametrize(
    ("successor", "status"), [("local/agree", 422), ("local/gone", 404), ("better", 422)]
)
def test_a_successor_is_another_environment_that_is_there(
    hub: HubUnderTest, successor: str, status: int
) -> None:
    hub.publish()
    answer = hub.user.put(f"{AGREE}/deprecation", json={"successor": successor})
    assert answer.status_code == status


def test_an_archived_environment_is_read_and_takes_no_versions(hub: HubUnderTest) -> None:
    hub.publish(version="1.0")
    for _ in range(2):
        assert hub.user.put(f"{AGREE}/archive").json()["archived"]
    refusal = hub.send(hub.pack(version="1.1"), "agree", "1.1")
    assert refusal.status_code == 403
    assert "freesolo unarchive local/agree" in error_of(refusal)["hint"]
    assert meaning(hub) == "1.0"
    for _ in range(2):
        hub.user.delete(f"{AGREE}/archive")
    assert hub.publish(version="1.1")["status"] == "created"
    assert changes(hub)[1:3] == ["environment.archived", "environment.unarchived"]


# Delete a version


def test_the_number_of_a_deleted_version_is_never_given_again(hub: HubUnderTest) -> None:
    hub.publish(version="1.0")
    hub.publish(version="1.1")
    for _ in range(2):
        assert hub.user.delete(f"{AGREE}/versions/1.1").status_code == 204
    for comment in ("", "changed"):
        again = hub.send(hub.pack(version="1.1.0", comment=comment), "agree", "1.1.0")
        assert (again.status_code, error_of(again)["code"]) == (410, "version_tombstoned")
    assert (meaning(hub, "1.1"), meaning(hub)) == ("version_tombstoned", "1.0")
    assert [each["version"] for each in shown(hub)["versions"]] == ["1.0"]
    assert changes(hub)[2:] == ["version.deleted"]


def test_what_was_in_a_deleted_version_is_forgotten(hub: HubUnderTest) -> None:
    digest = hub.publish(version="1.0")["tree_digest"]
    hub.publish(version="1.1", comment="other")
    hub.user.delete(f"{AGREE}/versions/1.0")
    assert meaning(hub, digest) == "version_not_found"
    for path in ("", "/archive", "/files", "/readme"):
        assert hub.user.get(f"{AGREE}/versions/1.0{path}").status_code in (404, 410)


def test_the_bytes_of_a_deleted_version_are_collected_unless_another_has_them(
    hub: HubUnderTest,
) -> None:
    bare = hub.path / "bare"
    bare.mkdir()
    (bare / "environment.py").write_text(ENVIRONMENT_PY)
    shared, lone = pack_folder(bare), hub.pack(version="1.2")
    for version, archive in (("1.0", shared), ("1.1", shared), ("1.2", lone)):
        assert hub.send(archive, "agree", version).status_code == 201
    for version in ("1.0", "1.2"):
        hub.user.delete(f"{AGREE}/versions/{version}")
    hub.clock.advance(2 * GRACE.total_seconds())
    sweep(hub.resources, now=hub.clock())
    assert hub.user.get(f"{AGREE}/versions/1.1/archive").content == shared.path.read_bytes()
    with pytest.raises(BlobNotFound):
        hub.resources.blobs.size(lone.archive_digest)


def test_a_version_at_which_a_channel_stands_is_not_deleted(hub: HubUnderTest) -> None:
    hub.publish(version="1.0")
    tag(hub, "stable", "1.0")
    refusal = hub.user.delete(f"{AGREE}/versions/1.0")
    assert refusal.status_code == 409
    assert "'stable'" in error_of(refusal)["message"]


# Stage and promote


def stage(hub: HubUnderTest, version: str, *, comment: str = "") -> Response:
    """Stage a version of `local/agree`."""
    return hub.send(hub.pack(version=version, comment=comment), "agree", f"{version}?stage=true")


def test_a_staged_version_is_seen_by_writers_alone(hub: HubUnderTest) -> None:
    hub.publish(version="1.0")
    staged = stage(hub, "2.0").json()
    assert (staged["status"], staged["state"]) == ("created", "staged")
    make_public(hub)
    stranger = other_org(hub)
    assert meaning(hub, "2.0") == "2.0"
    assert stranger.get(f"{AGREE}/resolve", params={"spec": "2.0"}).status_code == 404
    assert [len(shown["versions"]) for shown in (stranger.get(AGREE).json(), shown(hub))] == [1, 2]
    assert [meaning(hub, spec) for spec in ("", ">=1")] == ["1.0", "1.0"]


def test_a_promoted_version_is_for_everybody(hub: HubUnderTest) -> None:
    hub.publish(version="1.0")
    stage(hub, "2.0")
    hub.clock.advance(60)
    promoted = hub.user.post(f"{AGREE}/versions/2.0/promote").json()
    assert (promoted["state"], promoted["status"]) == ("published", "created")
    assert promoted["published_at"] == hub.clock().isoformat().replace("+00:00", "Z")
    assert meaning(hub) == "2.0"
    again = hub.user.post(f"{AGREE}/versions/2.0/promote").json()
    assert again == promoted | {"status": "unchanged"}
    assert changes(hub)[1:] == ["version.staged", "version.published"]


def test_publishing_a_staged_tree_promotes_it(hub: HubUnderTest) -> None:
    stage(hub, "1.0")
    answer = hub.send(hub.pack(version="1.0"), "agree", "1.0")
    assert (answer.status_code, answer.json()["state"]) == (200, "published")
    assert stage(hub, "1.0").json()["state"] == "published"
    assert changes(hub) == ["version.staged", "version.published"]


def test_a_discarded_version_leaves_its_number_free(any_hub: HubUnderTest) -> None:
    stage(any_hub, "1.0")
    assert any_hub.user.delete(f"{AGREE}/versions/1.0").status_code == 204
    assert stage(any_hub, "1.0", comment="changed").status_code == 201


# Delete an environment


def test_a_deleted_environment_is_gone_until_it_is_restored(hub: HubUnderTest) -> None:
    hub.publish(version="1.0")
    for _ in range(2):
        assert hub.user.delete(AGREE).json()["deleted_at"]
    assert meaning(hub) == "environment_not_found"
    assert shown(hub, "/v1/envs")["environments"] == []
    for _ in range(2):
        assert hub.user.post(f"{AGREE}/restore").json()["deleted_at"] is None
    assert meaning(hub) == "1.0"
    assert changes(hub)[1:] == ["environment.deleted", "environment.restored"]


def test_the_name_of_a_deleted_environment_stays_taken(hub: HubUnderTest) -> None:
    hub.publish(version="1.0")
    hub.user.delete(AGREE)
    refusal = hub.send(hub.pack(version="1.1"), "agree", "1.1")
    assert error_of(refusal)["code"] == "environment_not_found"
    assert "freesolo restore local/agree" in error_of(refusal)["hint"]


def test_after_thirty_days_a_deleted_environment_is_gone_for_ever(hub: HubUnderTest) -> None:
    hub.publish(version="1.0")
    hub.user.delete(AGREE)
    with hub.resources.sessions.begin() as session:
        forget_deleted(session, now=hub.clock())
        assert session.scalars(select(EnvironmentVersion.deleted_at)).all() == [None]
    hub.clock.advance(RESTORABLE.total_seconds())
    assert hub.user.post(f"{AGREE}/restore").status_code == 404
    with hub.resources.sessions.begin() as session:
        forget_deleted(session, now=hub.clock())
        assert session.scalars(select(EnvironmentVersion.deleted_at)).all() == [hub.clock()]


# Rename and transfer


def rename(hub: HubUnderTest, name: str, old: str = "agree") -> Response:
    """Rename an environment of `local`."""
    return hub.user.post(f"/v1/envs/local/{old}/rename", json={"name": name})


def test_an_old_name_leads_to_the_environment_for_ever(hub: HubUnderTest) -> None:
    hub.publish(version="1.0")
    assert rename(hub, "assent").json()["ref"] == "local/assent"
    assert rename(hub, "concur", "assent").json()["ref"] == "local/concur"
    for name in ("agree", "Assent", "concur"):
        assert resolve(hub, ref=f"local/{name}").json()["ref"] == "local/concur"
    archive = hub.user.get(f"{AGREE}/versions/1.0/archive")
    assert archive.status_code == 200


def test_an_old_name_cannot_be_taken(hub: HubUnderTest) -> None:
    hub.publish()
    hub.publish("other")
    rename(hub, "assent")
    refusal = hub.send(hub.pack(version="2.0"), "agree", "2.0")
    assert (refusal.status_code, error_of(refusal)["code"]) == (409, "name_taken_conflict")
    assert "local/assent" in error_of(refusal)["hint"]
    assert error_of(rename(hub, "agree", "other"))["code"] == "name_taken_conflict"


def test_an_environment_can_have_its_old_name_again(hub: HubUnderTest) -> None:
    hub.publish(version="1.0")
    rename(hub, "assent")
    assert rename(hub, "agree", "assent").json()["ref"] == "local/agree"
    assert resolve(hub, ref="local/assent").json()["ref"] == "local/agree"
    assert hub.publish(version="1.1")["ref"] == "local/agree"


@pytest.mark.parametrize("name", ["OTHER-task", "0ther-task", "othertask"])
def test_a_name_like_another_cannot_be_had(hub: HubUnderTest, name: str) -> None:
    hub.publish()
    hub.publish("other-task")
    assert error_of(rename(hub, name))["code"] == "name_taken_conflict"


def test_a_name_may_change_in_how_it_is_written(hub: HubUnderTest) -> None:
    hub.publish()
    assert rename(hub, "Agree").json()["ref"] == "local/Agree"
    rename(hub, "Agree")
    assert changes(hub) == ["version.published", "environment.renamed"]


@pytest.mark.parametrize("name", ["latest", "a/b", "-", ""])
def test_what_is_no_name_is_refused(hub: HubUnderTest, name: str) -> None:
    hub.publish()
    assert rename(hub, name).status_code == 422


def test_a_key_for_some_environments_gives_no_other_name(hub: HubUnderTest) -> None:
    hub.publish("test-one")
    plan = replace(FULL, patterns=("local/test-*",))
    narrow = make_key_of_org(hub, "local", Role.ADMIN, plan)
    path = "/v1/envs/local/test-one/rename"
    assert narrow.post(path, json={"name": "production"}).status_code == 403
    assert narrow.post(path, json={"name": "test-two"}).status_code == 200


def offer(hub: HubUnderTest, org: str = "acme") -> Response:
    """Offer `local/agree` to another org."""
    return hub.user.post(f"{AGREE}/transfer", json={"org": org})


def test_an_environment_that_is_accepted_belongs_to_the_other_org(hub: HubUnderTest) -> None:
    hub.publish(version="1.0")
    taker = other_org(hub)
    for _ in range(2):
        assert offer(hub).json()["to_org"] == "acme"
    assert taker.get(AGREE).status_code == 404
    assert taker.post(f"{AGREE}/transfer/accept").json()["ref"] == "acme/agree"
    assert taker.get(f"{AGREE}/resolve").json()["ref"] == "acme/agree"
    assert hub.user.get(AGREE).status_code == 404
    assert changes(hub)[1:] == ["environment.transfer-offered", "environment.transferred"]


def test_offers_are_listed_for_the_admins_of_the_org_that_gets_them(any_hub: HubUnderTest) -> None:
    for name in ("agree", "other", "third"):
        any_hub.publish(name)
        path = f"/v1/envs/local/{name}/transfer"
        taker = other_org(any_hub)
        assert any_hub.user.post(path, json={"org": "acme"}).status_code == 200
    any_hub.user.delete("/v1/envs/local/third")
    page = taker.get("/v1/transfers", params={"limit": 1}).json()
    rest = taker.get("/v1/transfers", params={"cursor": page["next_cursor"]}).json()
    shown = [(each["ref"], each["to_org"]) for each in page["transfers"] + rest["transfers"]]
    assert shown == [("local/agree", "acme"), ("local/other", "acme")]
    assert rest["next_cursor"] is None
    plan = replace(FULL, patterns=("acme/other",))
    for client, refs in (
        (any_hub.user, []),
        (make_key_of_org(any_hub, "acme", Role.MEMBER), []),
        (make_key_of_org(any_hub, "acme", Role.ADMIN, plan), ["local/other"]),
    ):
        assert [each["ref"] for each in client.get("/v1/transfers").json()["transfers"]] == refs


def test_what_was_granted_to_the_givers_people_ends(hub: HubUnderTest) -> None:
    hub.publish()
    taker, third = other_org(hub), other_org(hub, "third")
    for org in ("local", "acme", "third"):
        grant(hub, org)
    offer(hub)
    taker.post(f"{AGREE}/transfer/accept")
    assert hub.user.get(AGREE).status_code == 404
    assert third.get(AGREE).status_code == 200
    with hub.resources.readers() as session:
        assert len(session.scalars(select(EnvironmentGrant)).all()) == 1


def test_only_who_was_offered_an_environment_can_take_it(hub: HubUnderTest) -> None:
    hub.publish()
    taker, third = other_org(hub), other_org(hub, "third")
    for client in (taker, third, hub.user):
        assert client.post(f"{AGREE}/transfer/accept").status_code == 404
    offer(hub)
    for client in (third, hub.user):
        assert client.post(f"{AGREE}/transfer/accept").status_code == 404


@pytest.mark.parametrize("who", ["giver", "taker"])
def test_either_side_can_end_an_offer(hub: HubUnderTest, who: str) -> None:
    hub.publish()
    taker = other_org(hub)
    offer(hub)
    client = taker if who == "taker" else hub.user
    assert client.delete(f"{AGREE}/transfer").status_code == 204
    assert taker.post(f"{AGREE}/transfer/accept").status_code == 404
    assert hub.user.delete(f"{AGREE}/transfer").status_code == 204
    assert changes(hub)[1:] == ["environment.transfer-offered", "environment.transfer-declined"]


def test_an_environment_is_not_given_where_its_name_is_taken(hub: HubUnderTest) -> None:
    hub.publish()
    taker = other_org(hub)
    archive = hub.pack(version="9.0")
    taker.put(
        "/v1/envs/acme/agree/versions/9.0",
        content=archive.path.read_bytes(),
        headers={"Content-Digest": content_digest(archive.archive_digest)},
    )
    offer(hub)
    refusal = taker.post(f"{AGREE}/transfer/accept")
    assert error_of(refusal)["code"] == "name_taken_conflict"


def test_an_environment_is_not_given_to_who_may_keep_no_more(hub: HubUnderTest) -> None:
    hub.publish()
    taker = other_org(hub)
    with hub.resources.sessions.begin() as session:
        session.scalars(select(Org).where(Org.slug == "acme")).one().max_environments = 0
    offer(hub)
    refusal = taker.post(f"{AGREE}/transfer/accept")
    assert error_of(refusal)["code"] == "quota_exceeded"
    assert meaning(hub) == "0.1.0"


@pytest.mark.parametrize(("org", "status"), [("local", 422), ("nobody", 404)])
def test_an_environment_is_given_to_another_org_that_is_there(
    hub: HubUnderTest, org: str, status: int
) -> None:
    hub.publish()
    assert offer(hub, org).status_code == status


# Who may


def make_public(hub: HubUnderTest) -> None:
    """Let everybody read all environments."""
    with hub.resources.sessions.begin() as session:
        for environment in session.scalars(select(Environment)):
            environment.visibility = environment.visibility.PUBLIC
    hub.clock.advance(2)


def grant(hub: HubUnderTest, org: str, role: EnvironmentRole = EnvironmentRole.READER) -> None:
    """Give an org a role on every environment."""
    with hub.resources.sessions.begin() as session:
        grantee = session.scalars(select(Org).where(Org.slug == org)).one()
        for environment in session.scalars(select(Environment)):
            session.add(
                EnvironmentGrant(
                    environment_id=environment.id,
                    org_id=grantee.id,
                    role=role,
                    created_at=hub.clock(),
                )
            )


CALLS = [
    ("PUT", "/versions/1.0/yank", {"reason": "x"}, EnvironmentRole.WRITER),
    ("DELETE", "/versions/1.0/yank", None, EnvironmentRole.WRITER),
    ("POST", "/versions/1.0/promote", None, EnvironmentRole.WRITER),
    ("PUT", "/channels/stable", {"selector": "1.0"}, EnvironmentRole.WRITER),
    ("DELETE", "/channels/stable", None, EnvironmentRole.WRITER),
    ("DELETE", "/versions/1.0", None, EnvironmentRole.ADMIN),
    ("PUT", "/deprecation", {}, EnvironmentRole.ADMIN),
    ("DELETE", "/deprecation", None, EnvironmentRole.ADMIN),
    ("PUT", "/archive", None, EnvironmentRole.ADMIN),
    ("DELETE", "/archive", None, EnvironmentRole.ADMIN),
    ("DELETE", "", None, EnvironmentRole.ADMIN),
    ("POST", "/restore", None, EnvironmentRole.ADMIN),
    ("POST", "/rename", {"name": "b"}, EnvironmentRole.ADMIN),
    ("POST", "/transfer", {"org": "acme"}, EnvironmentRole.ADMIN),
    ("DELETE", "/transfer", None, EnvironmentRole.ADMIN),
]


@pytest.mark.parametrize(("method", "path", "body", "needed"), CALLS)
def test_each_call_takes_its_role(
    hub: HubUnderTest, method: str, path: str, body: object, needed: EnvironmentRole
) -> None:
    hub.publish(version="1.0")
    stranger = other_org(hub)
    assert stranger.request(method, f"{AGREE}{path}", json=body).status_code == 404
    grant(
        hub,
        "acme",
        EnvironmentRole.READER if needed is EnvironmentRole.WRITER else EnvironmentRole.WRITER,
    )
    refusal = stranger.request(method, f"{AGREE}{path}", json=body)
    assert (refusal.status_code, error_of(refusal)["code"]) == (403, "forbidden")
    assert len(changes(hub)) == 1


@pytest.mark.parametrize(
    ("path", "body"), [("/rename", {"name": "mine"}), ("/transfer", {"org": "acme"})]
)
def test_names_are_given_by_the_org_that_owns_them(
    hub: HubUnderTest, path: str, body: object
) -> None:
    hub.publish()
    guest = other_org(hub)
    grant(hub, "acme", EnvironmentRole.ADMIN)
    assert guest.post(f"{AGREE}{path}", json=body).status_code == 403


# At once


def test_a_version_is_yanked_while_another_is_published(any_hub: HubUnderTest) -> None:
    for version in ("1.0", "1.1"):
        any_hub.publish(version=version)
    archive = any_hub.pack(version="1.2")
    with ThreadPoolExecutor() as threads:
        published = threads.submit(any_hub.send, archive, "agree", "1.2")
        yanked = threads.submit(yank, any_hub, "1.1")
        assert (published.result().status_code, yanked.result().status_code) == (201, 200)
    assert shown(any_hub)["latest_version"] == "1.2"
    yank(any_hub, "1.2")
    assert shown(any_hub)["latest_version"] == "1.0"


def test_of_a_rename_and_a_publish_at_once_no_name_is_lost(any_hub: HubUnderTest) -> None:
    any_hub.publish(version="1.0")
    archive = any_hub.pack(version="1.1")
    with ThreadPoolExecutor() as threads:
        published = threads.submit(any_hub.send, archive, "agree", "1.1")
        renamed = threads.submit(rename, any_hub, "assent")
        assert renamed.result().status_code == 200
        assert published.result().status_code in (201, 409)
    assert resolve(any_hub).json()["ref"] == "local/assent"
    assert len(shown(any_hub, "/v1/envs")["environments"]) == 1


def test_of_two_that_want_one_name_at_once_one_gets_it(any_hub: HubUnderTest) -> None:
    for name in ("one", "two"):
        any_hub.publish(name)
    archive = any_hub.pack("three")
    with ThreadPoolExecutor() as threads:
        wanted = [
            threads.submit(rename, any_hub, "three", "one"),
            threads.submit(rename, any_hub, "th-ree", "two"),
            threads.submit(any_hub.send, archive, "three", "0.1.0"),
        ]
        statuses = [each.result().status_code for each in wanted]
    assert statuses[:2].count(200) <= 1
    assert {status for status in statuses if status >= 300} <= {409}
    names = {each["ref"] for each in shown(any_hub, "/v1/envs")["environments"]}
    assert len(names & {"local/three", "local/th-ree"}) == 1
