"""Orgs, their people and keys: nobody can do more than they were let, nor reach another org."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response

from freesolo.domain.catalog import SMOLLM2_135M
from freesolo.domain.roles import Role
from freesolo.schemas.accounts import ORG_HEADER, USER_SCOPES, Scope
from hub_server.settings import HubSettings
from hub_server.upkeep import write_key_uses
from tests.component.hub.harness import Document, HubUnderTest, SettableClock, error_of
from tests.component.hub.people import FULL, make_key_of_org, make_key_of_person, make_person


def created(response: Response) -> Document:
    """Return the document of an answer that must be 201."""
    assert response.status_code == 201, response.text
    document: Document = response.json()
    return document


# Orgs


def test_whoever_makes_an_org_is_its_owner(any_hub: HubUnderTest) -> None:
    ada = make_person(any_hub, "ada", {"acme": Role.MEMBER})
    assert created(ada.post("/v1/orgs", json={"slug": "Initech"}))["role"] == "owner"
    assert [(org["slug"], org["role"]) for org in ada.get("/v1/orgs").json()["orgs"]] == [
        ("acme", "member"),
        ("Initech", "owner"),
    ]
    shown = ada.get("/v1/orgs/initech").json()
    assert (shown["members"], shown["environments"]["used"]) == (1, 0)


def test_a_taken_or_misleading_name_makes_no_org(hub: HubUnderTest) -> None:
    ada = make_person(hub, "ada", {"acme": Role.OWNER})
    for slug in ("acme", "ACME", "Acme", "acrne", "admin", "-x", "a/b", ""):
        assert ada.post("/v1/orgs", json={"slug": slug}).status_code in (409, 422), slug
    assert len(ada.get("/v1/orgs").json()["orgs"]) == 1


def test_a_key_to_one_org_makes_no_other(hub: HubUnderTest) -> None:
    make_person(hub, "ada", {"acme": Role.OWNER})
    bound = make_key_of_person(hub, "ada", "acme")
    for client in (hub.user, bound):
        refusal = client.post("/v1/orgs", json={"slug": "initech"})
        assert refusal.status_code == 403, refusal.text
        assert "create-key --user" in error_of(refusal)["hint"]


def test_another_org_looks_like_none_at_all(hub: HubUnderTest) -> None:
    hub.make_member("acme")
    other, nothing = hub.user.get("/v1/orgs/acme"), hub.user.get("/v1/orgs/aaaa")
    assert other.status_code == nothing.status_code == 404
    assert other.text.replace("acme", "aaaa") == nothing.text


def test_a_key_of_several_orgs_must_say_which_it_means(hub: HubUnderTest) -> None:
    ada = make_person(hub, "ada", {"acme": Role.OWNER, "initech": Role.READER})
    unsaid = ada.get("/v1/whoami")
    assert unsaid.status_code == 422
    assert "acme, initech" in error_of(unsaid)["message"]
    told = ada.get("/v1/whoami", headers={ORG_HEADER: "Initech"}).json()
    assert (told["org"], told["role"], told["user"]) == ("initech", "reader", "ada")
    assert ada.get("/v1/whoami", headers={ORG_HEADER: "local"}).status_code == 403


def test_what_is_named_in_full_needs_no_org_to_act_in(hub: HubUnderTest) -> None:
    hub.publish()
    ada = make_person(hub, "ada", {"acme": Role.OWNER, "local": Role.READER})
    assert ada.get("/v1/envs/local/agree").status_code == 200
    assert [env["ref"] for env in ada.get("/v1/envs").json()["environments"]] == ["local/agree"]


# People


def test_people_are_let_in_changed_and_taken_out(any_hub: HubUnderTest) -> None:
    added = created(any_hub.user.post("/v1/members", json={"handle": "ada", "role": "member"}))
    assert (added["handle"], added["role"]) == ("ada", "member")
    changed = any_hub.user.put("/v1/members/ada", json={"role": "admin"})
    assert changed.json()["role"] == "admin"
    assert [each["handle"] for each in any_hub.user.get("/v1/members").json()["members"]] == ["ada"]
    assert any_hub.user.delete("/v1/members/ada").status_code == 204
    assert any_hub.user.get("/v1/members").json()["members"] == []
    assert any_hub.user.delete("/v1/members/ada").status_code == 404


def test_somebody_who_is_in_keeps_their_role_when_added_again(hub: HubUnderTest) -> None:
    hub.user.post("/v1/members", json={"handle": "ada", "role": "owner"})
    again = hub.user.post("/v1/members", json={"handle": "ADA", "role": "reader"})
    assert again.status_code == 409
    assert "set-role ada reader" in error_of(again)["hint"]
    assert hub.user.get("/v1/members").json()["members"][0]["role"] == "owner"


def test_who_may_change_whose_role(hub: HubUnderTest) -> None:
    cases = [
        (Role.OWNER, "POST", "new", Role.OWNER, 201),
        (Role.ADMIN, "POST", "new", Role.ADMIN, 201),
        (Role.ADMIN, "POST", "new", Role.OWNER, 403),
        (Role.MEMBER, "POST", "new", Role.READER, 403),
        (Role.READER, "POST", "new", Role.READER, 403),
        (Role.ADMIN, "PUT", "reader", Role.OWNER, 403),
        (Role.ADMIN, "PUT", "owner", Role.ADMIN, 403),
        (Role.ADMIN, "PUT", "reader", Role.ADMIN, 200),
        (Role.MEMBER, "PUT", "reader", Role.MEMBER, 403),
        (Role.OWNER, "PUT", "owner", Role.READER, 200),
        (Role.ADMIN, "DELETE", "owner", None, 403),
        (Role.ADMIN, "DELETE", "admin", None, 204),
        (Role.MEMBER, "DELETE", "reader", None, 403),
    ]
    for number, (by, method, handle, new, status) in enumerate(cases):
        # Each in an org of its own, with one of everybody and the one who acts.
        org = f"org{'x' * number}"
        for role in Role:
            make_person(hub, role.value, {org: role})
        make_person(hub, "actor", {org: by})
        actor = make_key_of_person(hub, "actor", org)
        path = "/v1/members" if method == "POST" else f"/v1/members/{handle}"
        body = {"handle": handle, "role": new} if new else None
        assert actor.request(method, path, json=body).status_code == status, cases[number]


def test_a_key_for_some_environments_lets_nobody_into_all(hub: HubUnderTest) -> None:
    made = make_key(hub.user, patterns=["local/math-*"])
    body = {"handle": "eve", "role": "admin"}
    refusal = hub.client(made["api_key"]).post("/v1/members", json=body)
    assert refusal.status_code == 403
    assert "confined" in error_of(refusal)["message"]


def test_two_owners_who_take_each_other_out_at_once_leave_one(any_hub: HubUnderTest) -> None:
    owners = {name: make_person(any_hub, name, {"acme": Role.OWNER}) for name in ("ada", "bob")}
    rivals = [(owners["ada"], "bob"), (owners["bob"], "ada")]
    with ThreadPoolExecutor(2) as threads:
        answers = list(threads.map(lambda each: each[0].delete(f"/v1/members/{each[1]}"), rivals))
    # The second may be refused as the last owner's, or for a key that is no longer good.
    assert [answer.status_code for answer in answers].count(204) == 1


def test_the_last_owner_stays(any_hub: HubUnderTest) -> None:
    ada = make_person(any_hub, "ada", {"acme": Role.OWNER})
    for refusal in (
        ada.put("/v1/members/ada", json={"role": "admin"}),
        ada.delete("/v1/members/ada"),
    ):
        assert refusal.status_code == 409
        assert "last owner" in error_of(refusal)["message"]
    make_person(any_hub, "bob", {"acme": Role.OWNER})
    assert ada.delete("/v1/members/ada").status_code == 204


def test_anybody_may_leave(hub: HubUnderTest) -> None:
    make_person(hub, "owner", {"acme": Role.OWNER})
    reader = make_person(hub, "reader", {"acme": Role.READER})
    assert reader.delete("/v1/members/reader").status_code == 204


def test_a_key_that_may_do_less_than_its_person_cannot_leave_for_them(hub: HubUnderTest) -> None:
    make_person(hub, "ada", {"acme": Role.OWNER})
    make_person(hub, "bob", {"acme": Role.OWNER})
    lesser = make_key_of_person(hub, "ada", "acme", replace(FULL, role=Role.ADMIN))
    assert lesser.delete("/v1/members/ada").status_code == 403


def test_the_keys_of_who_is_taken_out_stop_at_once_and_for_good(any_hub: HubUnderTest) -> None:
    owner = make_person(any_hub, "owner", {"acme": Role.OWNER})
    everywhere = make_person(any_hub, "ada", {"acme": Role.MEMBER, "initech": Role.MEMBER})
    bound = make_key_of_person(any_hub, "ada", "acme")
    assert bound.get("/v1/whoami").status_code == 200
    owner.delete("/v1/members/ada")
    assert bound.get("/v1/whoami").status_code == 401
    # Their key to all orgs goes on, without this one.
    assert everywhere.get("/v1/whoami").json()["org"] == "initech"
    owner.post("/v1/members", json={"handle": "ada", "role": "reader"})
    assert bound.get("/v1/whoami").status_code == 401


def test_what_was_shared_with_a_member_ends_with_the_membership(hub: HubUnderTest) -> None:
    hub.publish()
    ada = make_person(hub, "ada", {"local": Role.READER, "initech": Role.MEMBER})
    hub.user.put("/v1/envs/local/agree/access/users/ada", json={"role": "admin"})
    assert ada.get("/v1/envs/local/agree/access").status_code == 200
    hub.user.delete("/v1/members/ada")
    assert ada.get("/v1/envs/local/agree").status_code == 404


def test_people_of_another_org_are_out_of_reach(hub: HubUnderTest) -> None:
    make_person(hub, "ada", {"acme": Role.OWNER})
    for response in (
        hub.user.put("/v1/members/ada", json={"role": "reader"}),
        hub.user.delete("/v1/members/ada"),
        hub.user.post("/v1/keys", json={"name": "x", "user": "ada"}),
    ):
        assert response.status_code == 404
        assert error_of(response)["code"] == "user_not_found"


# Keys


def make_key(client: TestClient, **wanted: object) -> Document:
    return created(client.post("/v1/keys", json={"name": "made", **wanted}))


def test_a_key_is_as_the_one_that_makes_it_unless_told_otherwise(any_hub: HubUnderTest) -> None:
    made = make_key(any_hub.user)
    listed = any_hub.user.get("/v1/keys").json()["keys"]
    assert made["api_key"] not in str(listed)
    assert made["api_key"].startswith(made["prefix"])
    assert (made["role"], made["scopes"]) == ("owner", [scope.value for scope in USER_SCOPES])
    assert any_hub.client(made["api_key"]).get("/v1/whoami").json()["key_name"] == "made"


def test_a_narrow_key_says_so_and_is_held_to_it(hub: HubUnderTest) -> None:
    made = make_key(
        hub.user,
        scopes=["environments:read", "org:read"],
        patterns=["local/math-*"],
        role="reader",
        expires_at=(hub.clock() + timedelta(days=30)).isoformat(),
    )
    narrow = hub.client(made["api_key"])
    assert narrow.get("/v1/whoami").json()["role"] == "reader"
    assert narrow.get("/v1/runs").status_code == 403
    hub.publish("math-one")
    hub.publish("agree")
    assert narrow.get("/v1/envs/local/agree").status_code == 404
    assert [env["ref"] for env in narrow.get("/v1/envs").json()["environments"]] == [
        "local/math-one"
    ]
    hub.clock.advance(timedelta(days=30).total_seconds())
    expired = narrow.get("/v1/whoami")
    assert expired.status_code == 401
    assert "expired" in error_of(expired)["message"]


def test_no_key_makes_one_that_may_do_more(hub: HubUnderTest) -> None:
    narrow = make_key(
        hub.user,
        scopes=["org:admin", "org:read"],
        patterns=["local/math-*"],
        role="admin",
        expires_at="2030-02-01T00:00:00Z",
    )
    beyond: list[dict[str, object]] = [
        {"scopes": ["runs:read"]},
        {"scopes": ["org:admin", "worker"]},
        {"role": "owner"},
        {"patterns": ["local/*"]},
        {"patterns": ["local/math-1", "acme/math"]},
        {"patterns": []},
        {"expires_at": "2030-02-01T00:00:01+00:00"},
        {"all_orgs": True},
    ]
    for wanted in beyond:
        refusal = hub.client(narrow["api_key"]).post("/v1/keys", json={"name": "more", **wanted})
        assert (refusal.status_code, error_of(refusal)["code"]) == (403, "forbidden"), wanted


def test_a_key_of_a_narrow_key_is_as_narrow(hub: HubUnderTest) -> None:
    wanted = {"patterns": ["local/math-*"], "expires_at": "2030-02-01T00:00:00Z", "role": "admin"}
    narrow = make_key(hub.user, scopes=["org:admin"], **wanted)
    made = make_key(hub.client(narrow["api_key"]))
    assert {key: made[key] for key in wanted} == wanted
    assert made["scopes"] == ["org:admin"]


def test_a_key_that_makes_no_sense_is_refused(hub: HubUnderTest) -> None:
    senseless: list[dict[str, object]] = [
        {"name": ""},
        {"name": "x" * 101},
        {"name": "two\nlines"},
        {"patterns": ["acme/[a]"]},
        {"patterns": ["a/*"] * 21},
        {"expires_at": "2029-12-31T00:00:00Z"},
        {"expires_at": "2030-02-01T00:00:00"},
        {"role": "king"},
        {"scopes": ["everything"]},
        {"user": "ada", "service": True},
    ]
    for wanted in senseless:
        refusal = hub.user.post("/v1/keys", json={"name": "made", **wanted})
        assert refusal.status_code == 422, wanted


def test_members_make_keys_for_themselves_and_admins_for_others(hub: HubUnderTest) -> None:
    admin = make_person(hub, "ada", {"acme": Role.ADMIN})
    member = make_person(hub, "bob", {"acme": Role.MEMBER})
    assert make_key(member)["user"] == "bob"
    assert member.post("/v1/keys", json={"name": "x", "user": "ada"}).status_code == 403
    assert member.post("/v1/keys", json={"name": "x", "service": True}).status_code == 403
    assert make_key(admin, user="bob")["role"] == "member"
    assert make_key(admin, service=True)["user"] is None
    assert admin.post("/v1/keys", json={"name": "x", "user": "bob", "all_orgs": True}).is_error


def test_a_key_made_for_an_owner_by_an_admin_is_an_admins(hub: HubUnderTest) -> None:
    admin = make_person(hub, "ada", {"acme": Role.ADMIN})
    make_person(hub, "bob", {"acme": Role.OWNER})
    assert make_key(admin, user="bob")["role"] == "admin"


def test_a_key_made_for_somebody_has_nothing_that_others_shared_with_them(
    hub: HubUnderTest,
) -> None:
    hub.publish()
    admin = make_person(hub, "ada", {"acme": Role.ADMIN})
    bob = make_person(hub, "bob", {"acme": Role.MEMBER})
    hub.user.put("/v1/envs/local/agree/access/users/bob", json={"role": "writer"})
    assert bob.get("/v1/envs/local/agree").status_code == 200
    made = hub.client(make_key(admin, user="bob")["api_key"])
    assert made.get("/v1/envs/local/agree").status_code == 404


def test_a_person_makes_another_key_to_all_their_orgs(hub: HubUnderTest) -> None:
    ada = make_person(hub, "ada", {"acme": Role.OWNER, "initech": Role.READER})
    ada.headers[ORG_HEADER] = "initech"
    made = make_key(ada, all_orgs=True)
    assert made["all_orgs"]
    told = hub.client(made["api_key"]).get("/v1/whoami", headers={ORG_HEADER: "acme"}).json()
    assert told["role"] == "owner"


def test_admins_see_the_keys_of_the_org_and_others_their_own(hub: HubUnderTest) -> None:
    admin = make_person(hub, "ada", {"acme": Role.ADMIN})
    member = make_person(hub, "bob", {"acme": Role.MEMBER})
    make_key(member, name="bobs")
    make_key(admin, name="adas")
    make_key(admin, name="ci", service=True, role="member")

    def names(client: TestClient) -> set[str]:
        return {key["name"] for key in client.get("/v1/keys").json()["keys"]}

    assert names(member) == {"bobs", "laptop"}
    assert names(admin) == {"bobs", "adas", "ci", "laptop"}
    assert names(make_key_of_org(hub, "acme", Role.READER, replace(FULL, name="x"))) == {"x"}
    assert names(hub.user) == {"tests"}


def test_a_revoked_key_stops_everywhere_and_is_listed_only_on_demand(any_hub: HubUnderTest) -> None:
    made = make_key(any_hub.user, name="old")
    assert any_hub.client(made["api_key"]).get("/v1/whoami").status_code == 200
    assert any_hub.resolve("nothing", made["api_key"]).status_code == 404
    path = f"/v1/keys/{made['id']}"
    assert [any_hub.user.delete(path).status_code for _ in range(2)] == [204, 204]
    assert any_hub.client(made["api_key"]).get("/v1/whoami").status_code == 401
    assert any_hub.resolve("nothing", made["api_key"]).status_code == 401
    assert "old" not in any_hub.user.get("/v1/keys").text
    everything = any_hub.user.get("/v1/keys", params={"all": True}).json()["keys"]
    assert [key["revoked_at"] is not None for key in everything if key["name"] == "old"] == [True]


def test_a_key_that_was_just_revoked_is_not_answered_from_memory_for_longer_than_a_second(
    hub: HubUnderTest,
) -> None:
    hub.publish()
    made = make_key(hub.user)
    reader = hub.client(made["api_key"])
    assert reader.get("/v1/envs/local/agree/resolve").status_code == 200
    hub.user.delete(f"/v1/keys/{made['id']}")
    hub.clock.advance(1)
    assert reader.get("/v1/envs/local/agree/resolve").status_code == 401


def test_a_key_of_another_org_is_not_found(hub: HubUnderTest) -> None:
    other = hub.client(hub.make_member("acme"))
    made = make_key(other)
    unknown = hub.user.delete(f"/v1/keys/{uuid4()}")
    refusal = hub.user.delete(f"/v1/keys/{made['id']}")
    assert refusal.status_code == unknown.status_code == 404
    assert error_of(refusal)["code"] == error_of(unknown)["code"] == "key_not_found"
    assert other.get("/v1/whoami").status_code == 200


def test_nobody_revokes_a_key_that_may_do_more_than_theirs(hub: HubUnderTest) -> None:
    owner = make_person(hub, "owner", {"acme": Role.OWNER})
    admin = make_person(hub, "ada", {"acme": Role.ADMIN})
    member = make_person(hub, "bob", {"acme": Role.MEMBER})
    owners, members = make_key(owner), make_key(member)
    assert admin.delete(f"/v1/keys/{owners['id']}").status_code == 403
    assert member.delete(f"/v1/keys/{owners['id']}").status_code == 404
    assert admin.delete(f"/v1/keys/{members['id']}").status_code == 204


def test_a_key_for_some_environments_revokes_none_for_others(hub: HubUnderTest) -> None:
    narrow, wide = make_key(hub.user, patterns=["local/math-*"]), make_key(hub.user)
    narrower = make_key(hub.user, patterns=["local/math-1"])
    client = hub.client(narrow["api_key"])
    assert client.delete(f"/v1/keys/{wide['id']}").status_code == 403
    assert client.delete(f"/v1/keys/{narrower['id']}").status_code == 204
    assert client.delete(f"/v1/keys/{narrow['id']}").status_code == 204


def test_a_key_is_limited_and_the_gateway_is_told(hub: HubUnderTest) -> None:
    made = make_key(hub.user, limits={"requests_per_minute": 60})
    assert made["limits"] == {"requests_per_minute": 60, "tokens_per_minute": None}
    limits = {"requests_per_minute": 5, "tokens_per_minute": 1000}
    changed = hub.user.put(f"/v1/keys/{made['id']}/limits", json=limits).json()
    assert changed["limits"] == limits
    assert hub.resolve(SMOLLM2_135M.id, made["api_key"]).json()["limits"] == limits
    assert hub.user.get("/v1/audit").json()["events"][0]["action"] == "key.limited"
    lifted = hub.user.put(f"/v1/keys/{made['id']}/limits", json={}).json()
    assert lifted["limits"] == {"requests_per_minute": None, "tokens_per_minute": None}


def test_no_key_may_ask_for_more_than_the_hub_allows(hub_settings: HubSettings) -> None:
    changes = {"key_requests_per_minute": 60}
    with HubUnderTest(hub_settings.model_copy(update=changes), SettableClock()) as hub:
        made = make_key(hub.user, limits={"requests_per_minute": 100})
        for wanted, allowed in ((100, 60), (None, 60), (5, 5)):
            limits = {"requests_per_minute": wanted}
            assert hub.user.put(f"/v1/keys/{made['id']}/limits", json=limits).is_success
            told = hub.resolve(SMOLLM2_135M.id, made["api_key"]).json()["limits"]
            assert told == {"requests_per_minute": allowed, "tokens_per_minute": None}


def test_no_limited_key_lets_itself_or_another_ask_for_more(hub: HubUnderTest) -> None:
    limits = {"requests_per_minute": 60, "tokens_per_minute": None}
    limited = make_key(hub.user, limits=limits)
    client = hub.client(limited["api_key"])
    assert make_key(client)["limits"] == limits
    assert make_key(client, limits={"requests_per_minute": 59})["limits"] != limits
    more = {"requests_per_minute": 61}
    refused = client.post("/v1/keys", json={"name": "more", "limits": more})
    assert (refused.status_code, error_of(refused)["code"]) == (403, "forbidden")
    for wanted in (more, {}):
        assert client.put(f"/v1/keys/{limited['id']}/limits", json=wanted).status_code == 403


def test_nobody_limits_a_key_that_may_do_more_than_theirs(hub: HubUnderTest) -> None:
    owner = make_person(hub, "owner", {"acme": Role.OWNER})
    admin = make_person(hub, "ada", {"acme": Role.ADMIN})
    key = make_key(owner)["id"]
    limits = {"requests_per_minute": 1}
    assert admin.put(f"/v1/keys/{key}/limits", json=limits).status_code == 403
    assert hub.user.put(f"/v1/keys/{key}/limits", json=limits).status_code == 404
    assert owner.put(f"/v1/keys/{key}/limits", json={"requests_per_minute": 0}).status_code == 422


def test_a_key_for_some_environments_makes_no_org(hub: HubUnderTest) -> None:
    plan = replace(FULL, patterns=("acme/*",))
    ada = make_person(hub, "ada", {"acme": Role.OWNER}, plan)
    assert ada.post("/v1/orgs", json={"slug": "labs"}).status_code == 403


def test_the_last_use_of_a_key_is_listed_also_through_the_gateway(hub: HubUnderTest) -> None:
    made = make_key(hub.user, name="chatting")
    hub.resolve("nothing", made["api_key"])
    write_key_uses(hub.resources)
    (key,) = (key for key in hub.user.get("/v1/keys").json()["keys"] if key["name"] == "chatting")
    assert key["last_used_at"] == "2030-01-01T00:00:00Z"


@pytest.mark.parametrize("scope", [Scope.ORG_READ, Scope.ORG_ADMIN])
def test_keys_and_people_are_behind_their_scopes(hub: HubUnderTest, scope: Scope) -> None:
    without = make_key(hub.user, scopes=[each for each in USER_SCOPES if each is not scope])
    client = hub.client(without["api_key"])
    method, body = ("GET", None) if scope is Scope.ORG_READ else ("POST", {"name": "x"})
    refusal = client.request(method, "/v1/keys", json=body)
    assert refusal.status_code == 403
    assert scope.value in error_of(refusal)["message"]


# Roles


def test_readers_change_nothing(hub: HubUnderTest) -> None:
    reader = make_key_of_org(hub, "local", Role.READER)
    for method, path in (
        ("POST", "/v1/runs"),
        ("POST", "/v1/runs/run-0000000000/cancel"),
        ("POST", "/v1/deployments"),
        ("POST", "/v1/deployments/run-0000000000/rollback"),
        ("DELETE", "/v1/deployments/run-0000000000"),
        ("POST", "/v1/projects"),
    ):
        refusal = reader.request(method, path, json={"slug": "x", "adapter": "x", "spec": {}})
        assert refusal.status_code == 403, path
        assert "takes member" in error_of(refusal)["message"]


def test_readers_publish_nothing(hub: HubUnderTest) -> None:
    hub.publish()
    reader = make_key_of_org(hub, "local", Role.READER)
    for name in ("agree", "another"):
        refusal = reader.put(f"/v1/envs/local/{name}/versions/2.0", content=b"")
        assert refusal.status_code == 403, refusal.text


def test_projects_are_listed_by_name_and_made_once(hub: HubUnderTest) -> None:
    first = created(hub.user.post("/v1/projects", json={"slug": "refunds"}))
    assert created(hub.user.post("/v1/projects", json={"slug": "refunds"})) == first
    listed = hub.user.get("/v1/projects").json()["projects"]
    assert [project["slug"] for project in listed] == ["default", "refunds"]
