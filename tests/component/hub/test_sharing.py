"""Sharing one environment: what its admins show and change, and what they cannot."""

import pytest

from freesolo.domain.roles import Role
from tests.component.hub.harness import HubUnderTest, error_of
from tests.component.hub.people import make_person

AGREE = "/v1/envs/local/agree"


def test_access_tells_the_visibility_and_who_was_given_what(any_hub: HubUnderTest) -> None:
    any_hub.publish()
    any_hub.make_member("acme")
    make_person(any_hub, "ada", {"acme": Role.READER})
    any_hub.user.put(f"{AGREE}/access/users/ADA", json={"role": "writer"})
    any_hub.user.put(f"{AGREE}/access/orgs/Acme", json={"role": "reader"})
    shown = any_hub.user.put(f"{AGREE}/visibility", json={"visibility": "internal"}).json()
    assert shown == any_hub.user.get(f"{AGREE}/access").json()
    assert (shown["ref"], shown["visibility"]) == ("local/agree", "internal")
    assert [(user["handle"], user["role"]) for user in shown["users"]] == [("ada", "writer")]
    assert [(org["org"], org["role"]) for org in shown["orgs"]] == [("acme", "reader")]


def test_a_role_given_again_replaces_the_one_before(hub: HubUnderTest) -> None:
    hub.publish()
    ada = make_person(hub, "ada", {"acme": Role.READER})
    for role in ("admin", "reader"):
        hub.user.put(f"{AGREE}/access/users/ada", json={"role": role})
    assert ada.get(AGREE).status_code == 200
    assert ada.get(f"{AGREE}/access").status_code == 403


def test_what_was_given_is_taken_back(any_hub: HubUnderTest) -> None:
    any_hub.publish()
    acme = any_hub.client(any_hub.make_member("acme"))
    any_hub.user.put(f"{AGREE}/access/orgs/acme", json={"role": "writer"})
    assert acme.get(f"{AGREE}/resolve").status_code == 200
    assert any_hub.user.delete(f"{AGREE}/access/orgs/acme").status_code == 204
    assert acme.get(f"{AGREE}/resolve").status_code == 404


def test_going_private_again_hides_it_at_once(hub: HubUnderTest) -> None:
    hub.publish()
    stranger = hub.client(None)
    for visibility, status in (("public", 200), ("private", 404)):
        hub.user.put(f"{AGREE}/visibility", json={"visibility": visibility})
        answers = [stranger.get(f"{AGREE}/resolve").status_code for _ in range(2)]
        assert answers == [status, status]


def test_an_admin_by_grant_decides_about_this_environment_alone(hub: HubUnderTest) -> None:
    hub.publish("agree")
    hub.publish("other")
    ada = make_person(hub, "ada", {"acme": Role.READER})
    make_person(hub, "bob", {"acme": Role.READER})
    hub.user.put(f"{AGREE}/access/users/ada", json={"role": "admin"})
    assert ada.put(f"{AGREE}/access/users/bob", json={"role": "admin"}).status_code == 200
    elsewhere = ada.put("/v1/envs/local/other/access/users/bob", json={"role": "reader"})
    assert elsewhere.status_code == 404
    assert ada.put("/v1/envs/local/third/versions/1.0", content=b"").status_code == 403


def test_writers_decide_about_nothing(hub: HubUnderTest) -> None:
    hub.publish()
    member = make_person(hub, "bob", {"local": Role.MEMBER})
    for refusal in (
        member.get(f"{AGREE}/access"),
        member.put(f"{AGREE}/visibility", json={"visibility": "public"}),
        member.put(f"{AGREE}/access/users/bob", json={"role": "admin"}),
        member.delete(f"{AGREE}/access/users/bob"),
    ):
        assert refusal.status_code == 403
        assert "takes admin" in error_of(refusal)["message"]


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("access/users/nobody", {"role": "reader"}, 404, "user_not_found"),
        ("access/orgs/nothing", {"role": "reader"}, 404, "org_not_found"),
        ("access/orgs/local", {"role": "reader"}, 422, "invalid_input"),
        ("access/orgs/acme", {"role": "owner"}, 422, "invalid_input"),
        ("visibility", {"visibility": "secret"}, 422, "invalid_input"),
    ],
)
def test_what_cannot_be_shared_so_is_refused(
    hub: HubUnderTest, path: str, body: dict[str, str], status: int, code: str
) -> None:
    hub.publish()
    hub.make_member("acme")
    refusal = hub.user.put(f"{AGREE}/{path}", json=body)
    assert (refusal.status_code, error_of(refusal)["code"]) == (status, code)


def test_whoever_may_not_know_the_environment_learns_nothing_of_people(hub: HubUnderTest) -> None:
    hub.publish()
    make_person(hub, "ada", {"acme": Role.OWNER})
    outsider = hub.client(hub.make_member("initech"))
    answers = {
        outsider.put(f"{AGREE}/access/users/{handle}", json={"role": "reader"}).text
        for handle in ("ada", "nobody")
    }
    assert len(answers) == 1
    assert "environment_not_found" in answers.pop()
