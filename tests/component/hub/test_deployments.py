"""Deployments: asked for by members, made by gateways, found under their alias."""

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from hashlib import sha256
from urllib.parse import quote

import pytest

from freesolo.domain.catalog import BUILT_IN
from freesolo.domain.roles import Role
from hub_server.gateway.service import MAX_ATTEMPTS
from hub_server.paging import encode_cursor
from tests.component.hub.harness import MODEL, Document, HubUnderTest, error_of
from tests.component.hub.people import FULL, make_key_of_org
from tests.hubs import make_person_key

LEASE_SECONDS = 30
SMOKE_FAILED = {"code": "invalid_adapter", "message": "The smoke request failed."}


@pytest.fixture
def run_id(hub: HubUnderTest) -> str:
    """A run that is done."""
    hub.publish()
    return hub.train()


def test_a_deployment_waits_for_a_gateway(hub: HubUnderTest, run_id: str) -> None:
    deployment = hub.deploy(run_id)
    assert (deployment["model"], deployment["state"]) == (run_id, "queued")
    assert deployment["revision"] == hub.run(run_id)["adapter_revision"]
    assert hub.resolve(run_id).status_code == 404


def test_a_gateway_gets_what_it_needs_to_load_the_adapter(hub: HubUnderTest, run_id: str) -> None:
    hub.deploy(run_id)
    task = hub.claim_deployment()
    assert task["base_model"]["id"] == MODEL
    stored = hub.gateway.get(f"/v1/blobs/{task['adapter']['archive_digest']}")
    assert len(stored.content) == task["adapter"]["size"]
    assert not hub.claim_deployment()


def test_a_deployment_that_passed_its_smoke_is_what_the_alias_means(
    hub: HubUnderTest, run_id: str
) -> None:
    deployment = hub.make_live(run_id)
    assert (deployment["state"], deployment["active"]) == ("ready", True)
    target = hub.resolve(run_id).json()
    assert target["revision"] == deployment["revision"]
    assert target["adapter"]["tree_digest"].startswith("sha256:")


def test_a_failed_deployment_leaves_the_alias_as_it_was(any_hub: HubUnderTest) -> None:
    any_hub.publish()
    run_id = any_hub.train()
    live = any_hub.make_live(f"{run_id}/step-1")
    any_hub.deploy(run_id)
    any_hub.advance(any_hub.claim_deployment(), "smoking", "failed", error=SMOKE_FAILED)
    assert any_hub.resolve(run_id).json()["revision"] == live["revision"]


def test_a_failed_deployment_tells_why(hub: HubUnderTest, run_id: str) -> None:
    deployment = hub.deploy(run_id)
    hub.advance(hub.claim_deployment(), "failed", error=SMOKE_FAILED)
    shown = hub.deployment(deployment["id"])
    assert (shown["state"], shown["error"]["message"]) == ("failed", SMOKE_FAILED["message"])


def test_a_deployment_cannot_skip_its_smoke(hub: HubUnderTest, run_id: str) -> None:
    hub.deploy(run_id)
    assert hub.advance(hub.claim_deployment(), "ready").status_code == 409
    assert hub.resolve(run_id).status_code == 404


def test_the_alias_moves_to_a_new_deployment_and_the_one_before_answers_by_its_revision(
    any_hub: HubUnderTest,
) -> None:
    any_hub.publish()
    run_id = any_hub.train()
    old = any_hub.make_live(f"{run_id}/step-1")
    new = any_hub.make_live(run_id)
    assert _shown(any_hub) == {old["id"]: ("ready", False), new["id"]: ("ready", True)}
    assert any_hub.resolve(run_id).json()["revision"] == new["revision"]
    for each in (old, new):
        target = any_hub.resolve(each["revision"]).json()
        assert (target["model"], target["revision"]) == (each["revision"], each["revision"])


def test_a_new_deployment_of_a_revision_replaces_the_older_one_of_it(any_hub: HubUnderTest) -> None:
    any_hub.publish()
    run_id = any_hub.train()
    old = any_hub.make_live(f"{run_id}/step-1")
    other = any_hub.make_live(run_id)
    again = any_hub.make_live(f"{run_id}/step-1")
    assert _shown(any_hub, everything=True) == {
        old["id"]: ("undeployed", False),
        other["id"]: ("ready", False),
        again["id"]: ("ready", True),
    }


def test_an_older_deployment_of_a_revision_that_comes_last_gives_way(hub: HubUnderTest) -> None:
    hub.publish()
    run_id = hub.train()
    hub.deploy(run_id, stage=True)
    slow = hub.claim_deployment()
    live = hub.make_live(run_id)
    assert live["id"] != slow["id"]
    assert hub.advance(slow, "smoking", "ready").status_code == 204
    assert _shown(hub, everything=True) == {
        slow["id"]: ("undeployed", False),
        live["id"]: ("ready", True),
    }


def test_a_slow_deployment_does_not_replace_one_asked_for_later(any_hub: HubUnderTest) -> None:
    any_hub.publish()
    run_id = any_hub.train()
    any_hub.deploy(f"{run_id}/step-1")
    slow = any_hub.claim_deployment()
    later = any_hub.make_live(run_id)
    assert any_hub.advance(slow, "smoking", "ready").status_code == 204
    assert any_hub.resolve(run_id).json()["revision"] == later["revision"]
    shown = any_hub.deployment(slow["id"])
    assert (shown["state"], shown["active"], shown["staged"]) == ("ready", False, True)
    assert any_hub.resolve(slow["revision"]).json()["revision"] == slow["revision"]


def test_deploying_what_is_live_already_returns_it(hub: HubUnderTest, run_id: str) -> None:
    live = hub.make_live(run_id)
    assert hub.deploy(run_id) == live


def test_gateways_that_claim_at_once_get_different_deployments(any_hub: HubUnderTest) -> None:
    any_hub.publish()
    asked_for = {any_hub.deploy(any_hub.train())["id"] for _ in range(4)}
    with ThreadPoolExecutor(4) as threads:
        claimed = list(threads.map(lambda _: any_hub.claim_deployment(), range(4)))
    assert {task["id"] for task in claimed} == asked_for


def test_a_deployment_whose_gateway_died_is_done_again(hub: HubUnderTest, run_id: str) -> None:
    hub.deploy(run_id)
    lost = hub.claim_deployment()
    hub.clock.advance(LEASE_SECONDS + 1)
    again = hub.claim_deployment()
    assert again["id"] == lost["id"]
    assert error_of(hub.advance(lost, "smoking"))["code"] == "lease_lost_conflict"


def test_the_same_state_again_keeps_the_lease(hub: HubUnderTest, run_id: str) -> None:
    hub.deploy(run_id)
    task = hub.claim_deployment()
    for _ in range(3):
        hub.clock.advance(LEASE_SECONDS - 1)
        assert hub.advance(task, "loading").status_code == 204
    assert not hub.claim_deployment()


def test_a_deployment_at_which_gateways_keep_dying_fails(hub: HubUnderTest, run_id: str) -> None:
    deployment = hub.deploy(run_id)
    for _ in range(MAX_ATTEMPTS):
        assert hub.claim_deployment()
        hub.clock.advance(LEASE_SECONDS + 1)
    hub.take_back_lost()
    assert hub.user.get(f"/v1/deployments/{deployment['id']}").json()["state"] == "failed"


def test_undeploying_a_run_ends_every_revision_that_is_live_or_coming(
    any_hub: HubUnderTest,
) -> None:
    any_hub.publish()
    run_id = any_hub.train()
    live = [any_hub.make_live(adapter) for adapter in (f"{run_id}/step-1", run_id)]
    any_hub.deploy(f"{run_id}/step-1")
    coming = any_hub.claim_deployment()
    assert any_hub.advance(coming, "smoking").status_code == 204
    assert any_hub.user.delete(f"/v1/deployments/{run_id}").status_code == 204
    assert error_of(any_hub.advance(coming, "ready"))["code"] == "lease_lost_conflict"
    for name in (run_id, *(each["revision"] for each in live)):
        assert any_hub.resolve(name).status_code == 404
    assert _shown(any_hub) == {}
    assert not any_hub.claim_deployment()


@pytest.mark.parametrize("name", ["{revision}", "{run}/step-1"])
def test_undeploying_a_revision_ends_that_one_alone(
    hub: HubUnderTest, run_id: str, name: str
) -> None:
    old = hub.make_live(f"{run_id}/step-1")
    live = hub.make_live(run_id)
    path = name.format(revision=old["revision"], run=run_id)
    assert hub.user.delete(f"/v1/deployments/{path}").status_code == 204
    assert hub.resolve(old["revision"]).status_code == 404
    assert _shown(hub) == {live["id"]: ("ready", True)}


def test_what_the_alias_points_to_is_not_withdrawn_alone(hub: HubUnderTest, run_id: str) -> None:
    live = hub.make_live(run_id)
    refusal = hub.user.delete(f"/v1/deployments/{live['revision']}")
    assert (refusal.status_code, error_of(refusal)["code"]) == (409, "conflict")
    for way_out in ("undeploy", "rollback"):
        assert f"`freesolo {way_out} {run_id}`" in error_of(refusal)["hint"]
    assert hub.resolve(run_id).status_code == 200


def test_a_revision_that_is_withdrawn_while_it_smokes_leaves_the_alias_alone(
    any_hub: HubUnderTest,
) -> None:
    any_hub.publish()
    run_id = any_hub.train()
    live = any_hub.make_live(f"{run_id}/step-1")
    coming = any_hub.deploy(run_id)
    task = any_hub.claim_deployment()
    any_hub.advance(task, "smoking")
    assert any_hub.user.delete(f"/v1/deployments/{coming['revision']}").status_code == 204
    assert error_of(any_hub.advance(task, "ready"))["code"] == "lease_lost_conflict"
    assert any_hub.resolve(run_id).json()["revision"] == live["revision"]
    assert any_hub.resolve(coming["revision"]).status_code == 404


def test_undeploying_what_is_not_deployed_is_not_found(hub: HubUnderTest, run_id: str) -> None:
    hub.make_live(run_id)
    response = hub.user.delete(f"/v1/deployments/{run_id[:-1]}")
    assert (response.status_code, error_of(response)["code"]) == (404, "deployment_not_found")
    assert error_of(response)["hint"] == f"Did you mean `{run_id}`?"


def test_a_withdrawn_adapter_can_be_deployed_again(hub: HubUnderTest, run_id: str) -> None:
    hub.make_live(run_id)
    hub.user.delete(f"/v1/deployments/{run_id}")
    assert hub.make_live(run_id)["active"] is True


def test_a_checkpoint_can_be_deployed_by_its_revision(hub: HubUnderTest, run_id: str) -> None:
    point = hub.user.get(f"/v1/runs/{run_id}/checkpoints").json()["checkpoints"][0]
    assert hub.deploy(point["revision"])["revision"] == point["revision"]


@pytest.mark.parametrize(
    ("adapter", "status", "code"),
    [
        ("{run}/step-9", 404, "adapter_not_found"),
        ("{run}@final.0000000000000000000000000000000000000000", 404, "adapter_not_found"),
        ("run-0000000000", 404, "run_not_found"),
        ("what?", 422, "invalid_ref"),
    ],
)
def test_only_adapters_that_exist_are_deployed(
    hub: HubUnderTest, run_id: str, adapter: str, status: int, code: str
) -> None:
    response = hub.user.post("/v1/deployments", json={"adapter": adapter.format(run=run_id)})
    assert (response.status_code, error_of(response)["code"]) == (status, code)


def test_a_run_that_is_not_done_names_its_newest_checkpoint(hub: HubUnderTest) -> None:
    hub.publish()
    run_id = hub.submit()
    hub.save(hub.claim(), 1)
    response = hub.user.post("/v1/deployments", json={"adapter": run_id})
    assert f"`{run_id}/step-1`" in error_of(response)["hint"]


def test_a_deploy_repeated_with_its_key_is_one_deployment(hub: HubUnderTest, run_id: str) -> None:
    answers = [
        hub.user.post(
            "/v1/deployments", json={"adapter": run_id}, headers={"Idempotency-Key": "k"}
        ).json()
        for _ in range(2)
    ]
    assert answers[0] == answers[1]


def test_a_base_model_is_found_under_its_own_name(hub: HubUnderTest) -> None:
    target = hub.resolve(MODEL).json()
    assert (target["org"], target["base_model"]["id"]) == ("local", MODEL)
    assert target["adapter"] is None


def test_an_unknown_model_is_answered_with_the_nearest(hub: HubUnderTest) -> None:
    response = hub.resolve(MODEL[:-1])
    assert (response.status_code, error_of(response)["code"]) == (404, "model_not_found")
    assert error_of(response)["hint"] == f"Did you mean `{MODEL}`?"


def test_an_adapter_of_another_org_is_not_served(hub: HubUnderTest, run_id: str) -> None:
    hub.make_live(run_id)
    assert hub.resolve(run_id, key=hub.make_member("acme")).status_code == 404


def test_a_key_goes_on_working_when_somebody_takes_its_person_into_another_org(
    any_hub: HubUnderTest,
) -> None:
    hub = any_hub
    hub.publish()
    run_id = hub.train()
    revision = hub.make_live(run_id)["revision"]
    key = make_person_key(hub.app, "ada", {"local": Role.OWNER}, FULL)
    hub.clock.advance(1)
    evil = make_key_of_org(hub, "evil", Role.ADMIN)
    assert evil.post("/v1/members", json={"handle": "ada", "role": "member"}).status_code == 201

    for model in (run_id, revision, MODEL):
        assert hub.resolve(model, key).json()["org"] == "local"
    assert hub.resolve(MODEL, key, org="Evil").json()["org"] == "evil"
    assert hub.resolve(run_id, key, org="evil").status_code == 404
    assert hub.resolve(MODEL, key, org="acme").status_code == 403
    assert _served(hub, key) == _served(hub)


def test_an_adapter_is_paid_by_the_org_that_it_belongs_to(hub: HubUnderTest, run_id: str) -> None:
    hub.make_live(run_id)
    key = make_person_key(hub.app, "ada", {"acme": Role.OWNER}, FULL)
    hub.clock.advance(1)
    make_person_key(hub.app, "ada", {"local": Role.READER}, FULL)
    assert hub.resolve(run_id, key).json()["org"] == "local"
    assert hub.resolve(MODEL, key).json()["org"] == "acme"
    assert run_id in _served(hub, key)


def test_an_unknown_key_gets_no_model(hub: HubUnderTest) -> None:
    assert hub.resolve(MODEL, key="fslo_nobody").status_code == 401


def test_a_key_that_may_not_chat_gets_no_model(hub: HubUnderTest) -> None:
    response = hub.resolve(MODEL, key=hub.keys.worker)
    assert (response.status_code, error_of(response)["code"]) == (403, "forbidden")


def test_a_key_is_shown_the_models_it_may_ask_for(hub: HubUnderTest, run_id: str) -> None:
    hub.make_live(run_id)
    assert _served(hub) == [*sorted(BUILT_IN), run_id]


def test_an_adapter_is_not_served_on_other_weights_than_it_was_made_on(
    hub: HubUnderTest, run_id: str
) -> None:
    _change_catalog(hub, "newer")
    response = hub.user.post("/v1/deployments", json={"adapter": run_id})
    assert response.status_code == 409
    assert "the catalog now has newer" in error_of(response)["message"]


def test_an_adapter_that_is_live_is_not_served_on_weights_that_changed_since(
    hub: HubUnderTest, run_id: str
) -> None:
    hub.make_live(run_id)
    _change_catalog(hub, "newer")
    response = hub.resolve(run_id)
    assert (response.status_code, error_of(response)["code"]) == (404, "model_not_found")
    assert "another revision now" in error_of(response)["hint"]
    assert _served(hub) == [MODEL]


@pytest.mark.parametrize("revision", ["newer", None])
def test_a_deployment_whose_base_model_left_the_catalog_fails(
    any_hub: HubUnderTest, revision: str | None
) -> None:
    any_hub.publish()
    deployments = [any_hub.deploy(any_hub.train()) for _ in range(2)]
    _change_catalog(any_hub, revision)
    assert not any_hub.claim_deployment()
    for deployment in deployments:
        shown = any_hub.deployment(deployment["id"])
        assert (shown["state"], shown["error"]["code"]) == ("failed", "model_not_found")


def test_the_log_follows_a_run_and_its_deployment(
    hub: HubUnderTest, caplog: pytest.LogCaptureFixture
) -> None:
    hub.publish()
    with caplog.at_level(logging.INFO, logger="hub_server"):
        run_id = hub.train()
        live = hub.make_live(run_id)
    told = [vars(record) for record in caplog.records]
    claims = [facts["run"] for facts in told if facts["message"] == "run claimed"]
    states = [facts["state"] for facts in told if facts.get("deployment") == live["id"]]
    assert (claims, states) == ([run_id], ["smoking", "ready"])


@pytest.mark.parametrize("state", ["queued", "undeployed"])
def test_a_gateway_cannot_take_a_deployment_back_or_away(
    hub: HubUnderTest, run_id: str, state: str
) -> None:
    hub.deploy(run_id)
    response = hub.advance(hub.claim_deployment(), state)
    assert (response.status_code, error_of(response)["code"]) == (
        409,
        "illegal_transition_conflict",
    )


def test_a_checkpoint_is_deployed_while_its_run_still_trains(any_hub: HubUnderTest) -> None:
    any_hub.publish()
    run_id = any_hub.submit()
    lease = any_hub.claim()
    any_hub.report(lease, "start", {"total_steps": 2})
    any_hub.save(lease, 1, b"half")
    early = any_hub.make_live(f"{run_id}/step-1")
    assert any_hub.run(run_id)["state"] == "running"
    assert any_hub.resolve(run_id).json()["revision"] == early["revision"]
    any_hub.save(lease, 2, b"whole")
    assert any_hub.report(lease, "complete", {"step": 2}).status_code == 204
    final = any_hub.make_live(run_id)
    assert any_hub.resolve(run_id).json()["revision"] == final["revision"]
    assert any_hub.resolve(early["revision"]).status_code == 200


def test_the_result_of_a_run_answers_to_both_its_names(hub: HubUnderTest, run_id: str) -> None:
    live = hub.make_live(run_id)
    point = hub.user.get(f"/v1/runs/{run_id}/checkpoints").json()["checkpoints"][-1]
    assert point["revision"] != live["revision"]
    assert hub.resolve(point["revision"]).json()["revision"] == live["revision"]
    assert hub.deploy(point["revision"])["id"] == live["id"]
    hub.user.delete(f"/v1/deployments/{run_id}")
    hub.make_live(point["revision"])
    assert hub.resolve(live["revision"]).json()["revision"] == point["revision"]


@pytest.mark.parametrize(
    "name",
    ["{run}/step-1", " {run}", "{run}@step-2.{hash}", "{run}@final.{hash}", "{run}@step-1.{zeros}"],
)
def test_no_other_spelling_names_a_revision(hub: HubUnderTest, run_id: str, name: str) -> None:
    live = hub.make_live(f"{run_id}/step-1")
    content = live["revision"].rpartition(".")[2]
    answer = hub.resolve(name.format(run=run_id, hash=content, zeros="0" * 40))
    assert (answer.status_code, error_of(answer)["code"]) == (404, "model_not_found")


@pytest.mark.parametrize("everything_deployed", [True, False])
def test_another_org_s_names_look_like_those_of_nobody(
    hub: HubUnderTest, run_id: str, everything_deployed: bool
) -> None:
    revision = hub.run(run_id)["adapter_revision"]
    if everything_deployed:
        hub.make_live(run_id)
    stranger = hub.make_member("acme")
    for name, nobody_s in (
        (run_id, "run-0000000000"),
        (revision, f"run-0000000000@final.{'0' * 40}"),
    ):
        known, unknown = (hub.resolve(each, key=stranger) for each in (name, nobody_s))
        assert known.status_code == unknown.status_code == 404
        assert known.text == unknown.text.replace(nobody_s, name)


def test_a_name_that_is_not_served_yet_is_answered_with_the_way_to_it(
    hub: HubUnderTest, run_id: str
) -> None:
    assert error_of(hub.resolve(run_id))["hint"] == f"`freesolo deploy {run_id}` serves it."
    staged = hub.make_live(run_id, stage=True)
    assert error_of(hub.resolve(run_id))["hint"] == f"`{staged['revision']}` is served."


# Staging


def test_what_is_staged_answers_by_its_revision_alone(any_hub: HubUnderTest) -> None:
    any_hub.publish()
    run_id = any_hub.train()
    live = any_hub.make_live(f"{run_id}/step-1")
    staged = any_hub.make_live(run_id, stage=True)
    assert (staged["state"], staged["staged"], staged["active"]) == ("ready", True, False)
    assert any_hub.resolve(run_id).json()["revision"] == live["revision"]
    assert any_hub.resolve(staged["revision"]).json()["revision"] == staged["revision"]


def test_what_was_staged_becomes_the_alias_by_a_deploy_with_its_own_smoke(
    any_hub: HubUnderTest,
) -> None:
    any_hub.publish()
    run_id = any_hub.train()
    staged = any_hub.make_live(run_id, stage=True)
    deployment = any_hub.deploy(run_id)
    assert (deployment["state"], deployment["staged"]) == ("queued", False)
    assert any_hub.resolve(run_id).status_code == 404
    assert any_hub.resolve(staged["revision"]).status_code == 200
    assert any_hub.carry_out(deployment)["active"] is True
    assert _shown(any_hub) == {deployment["id"]: ("ready", True)}


def test_staging_what_is_served_or_coming_returns_that(hub: HubUnderTest, run_id: str) -> None:
    coming = hub.deploy(run_id)
    assert hub.deploy(run_id, stage=True)["id"] == coming["id"]
    live = hub.carry_out(coming)
    assert hub.deploy(run_id, stage=True) == live
    hub.make_live(f"{run_id}/step-1")
    assert hub.deploy(run_id, stage=True)["id"] == live["id"]
    # It answers; what is to move the alias to it has yet to pass.
    hub.deploy(run_id)
    assert hub.deploy(run_id, stage=True)["id"] == live["id"]


def test_deploying_what_is_being_staged_is_another_deployment(
    hub: HubUnderTest, run_id: str
) -> None:
    staged = hub.deploy(run_id, stage=True)
    deployment = hub.deploy(run_id)
    assert deployment["id"] != staged["id"]
    assert hub.deploy(run_id)["id"] == deployment["id"]


def test_neither_a_staged_nor_a_failed_deployment_hides_what_is_live(
    hub: HubUnderTest, run_id: str
) -> None:
    live = hub.make_live(run_id)
    hub.make_live(f"{run_id}/step-1", stage=True)
    assert hub.deploy(run_id)["id"] == live["id"]
    hub.deploy(f"{run_id}/step-1")
    hub.advance(hub.claim_deployment(), "failed", error=SMOKE_FAILED)
    assert hub.deploy(run_id)["id"] == live["id"]


def test_what_is_live_is_deployed_again_if_another_is_on_its_way(
    hub: HubUnderTest, run_id: str
) -> None:
    live = hub.make_live(run_id)
    other = hub.deploy(f"{run_id}/step-1")
    again = hub.deploy(run_id)
    assert again["id"] not in (live["id"], other["id"])
    for task in [hub.claim_deployment(), hub.claim_deployment()]:
        hub.advance(task, "smoking", "ready")
    assert hub.resolve(run_id).json()["revision"] == live["revision"]


# Rollback


def test_a_rollback_deploys_what_the_alias_pointed_to_before(any_hub: HubUnderTest) -> None:
    any_hub.publish()
    run_id = any_hub.train()
    first, second = (any_hub.make_live(each) for each in (f"{run_id}/step-1", run_id))
    back = any_hub.roll_back(run_id)
    assert (back["state"], back["revision"]) == ("queued", first["revision"])
    assert any_hub.resolve(run_id).json()["revision"] == second["revision"]
    any_hub.carry_out(back)
    assert any_hub.resolve(run_id).json()["revision"] == first["revision"]
    assert any_hub.resolve(second["revision"]).status_code == 200


def test_a_second_rollback_returns(hub: HubUnderTest, run_id: str) -> None:
    _, second = (hub.make_live(each) for each in (f"{run_id}/step-1", run_id))
    for _ in range(2):
        hub.carry_out(hub.roll_back(run_id))
    assert hub.resolve(run_id).json()["revision"] == second["revision"]


def test_a_rollback_that_failed_leaves_the_alias(hub: HubUnderTest, run_id: str) -> None:
    _, second = (hub.make_live(each) for each in (f"{run_id}/step-1", run_id))
    hub.roll_back(run_id)
    hub.advance(hub.claim_deployment(), "failed", error=SMOKE_FAILED)
    assert hub.resolve(run_id).json()["revision"] == second["revision"]


def test_a_rollback_asked_for_again_is_one(hub: HubUnderTest, run_id: str) -> None:
    for each in (f"{run_id}/step-1", run_id):
        hub.make_live(each)
    assert hub.roll_back(run_id) == hub.roll_back(run_id)


def test_a_rollback_repeated_with_its_key_does_not_return(hub: HubUnderTest, run_id: str) -> None:
    first, _ = (hub.make_live(each) for each in (f"{run_id}/step-1", run_id))
    headers = {"Idempotency-Key": "k"}
    for _ in range(2):
        back = hub.user.post(f"/v1/deployments/{run_id}/rollback", headers=headers).json()
        if back["state"] == "queued":
            hub.carry_out(back)
    assert hub.resolve(run_id).json()["revision"] == first["revision"]


def test_a_rollback_passes_over_what_the_alias_never_pointed_to(hub: HubUnderTest) -> None:
    hub.publish()
    run_id = _saved(hub, steps=4)
    first = hub.make_live(f"{run_id}/step-1")
    hub.make_live(f"{run_id}/step-2", stage=True)
    hub.deploy(f"{run_id}/step-3")
    slow = hub.claim_deployment()
    hub.make_live(f"{run_id}/step-4")
    hub.advance(slow, "smoking", "ready")
    assert hub.roll_back(run_id)["revision"] == first["revision"]


def test_a_rollback_finds_what_was_deployed_again_after_the_alias_had_moved_on(
    hub: HubUnderTest,
) -> None:
    hub.publish()
    run_id = _saved(hub, steps=3)
    a, b, c = (f"{run_id}/step-{step}" for step in (1, 2, 3))
    hub.make_live(a)
    asked_for = [hub.deploy(each)["id"] for each in (b, a, c)]
    tasks = {task["id"]: task for task in (hub.claim_deployment() for _ in asked_for)}
    for each in reversed(asked_for):
        assert hub.advance(tasks[each], "smoking", "ready").status_code == 204
    assert hub.resolve(run_id).json()["revision"].startswith(f"{run_id}@step-3.")
    assert hub.roll_back(run_id)["revision"].startswith(f"{run_id}@step-1.")


def test_a_rollback_passes_over_what_was_withdrawn(hub: HubUnderTest) -> None:
    hub.publish()
    run_id = _saved(hub, steps=3)
    first, second, _ = (hub.make_live(f"{run_id}/step-{step}") for step in (1, 2, 3))
    hub.user.delete(f"/v1/deployments/{second['revision']}")
    assert hub.roll_back(run_id)["revision"] == first["revision"]


def test_without_anything_before_there_is_no_rollback(hub: HubUnderTest, run_id: str) -> None:
    live = hub.make_live(run_id)
    staged = hub.make_live(f"{run_id}/step-1", stage=True)
    refusal = hub.user.post(f"/v1/deployments/{run_id}/rollback")
    assert (refusal.status_code, error_of(refusal)["code"]) == (409, "conflict")
    assert live["revision"] in error_of(refusal)["message"]
    assert staged["revision"] in error_of(refusal)["hint"]


def test_an_alias_that_points_to_nothing_is_not_rolled_back(hub: HubUnderTest, run_id: str) -> None:
    hub.make_live(run_id)
    mistyped = hub.user.post(f"/v1/deployments/{run_id[:-1]}/rollback")
    assert (mistyped.status_code, error_of(mistyped)["code"]) == (404, "deployment_not_found")
    assert error_of(mistyped)["hint"] == f"Did you mean `{run_id}`?"
    hub.user.delete(f"/v1/deployments/{run_id}")
    staged = hub.make_live(run_id, stage=True)
    refusal = hub.user.post(f"/v1/deployments/{run_id}/rollback")
    assert (refusal.status_code, error_of(refusal)["code"]) == (404, "deployment_not_found")
    assert staged["revision"] in error_of(refusal)["hint"]


def test_a_rollback_of_one_adapter_names_what_was_meant(hub: HubUnderTest, run_id: str) -> None:
    revision = hub.make_live(run_id)["revision"]
    for name in (f"{run_id}/step-1", revision):
        refusal = hub.user.post(f"/v1/deployments/{quote(name, safe='')}/rollback")
        assert (refusal.status_code, error_of(refusal)["code"]) == (422, "invalid_input")
        assert f"freesolo rollback {run_id}`" in error_of(refusal)["hint"]
        assert f"freesolo deploy {name}`" in error_of(refusal)["hint"]


@pytest.mark.parametrize("rollback_first", [True, False])
def test_a_rollback_beats_a_deploy_that_is_under_way(
    any_hub: HubUnderTest, rollback_first: bool
) -> None:
    any_hub.publish()
    run_id = _saved(any_hub, steps=3)
    first, _ = (any_hub.make_live(f"{run_id}/step-{step}") for step in (1, 2))
    any_hub.deploy(f"{run_id}/step-3")
    under_way = any_hub.claim_deployment()
    any_hub.roll_back(run_id)
    back = any_hub.claim_deployment()
    for task in (back, under_way) if rollback_first else (under_way, back):
        assert any_hub.advance(task, "smoking", "ready").status_code == 204
    assert any_hub.resolve(run_id).json()["revision"] == first["revision"]
    assert any_hub.resolve(under_way["revision"]).status_code == 200


# Dry run


def test_a_dry_run_tells_what_a_deploy_would_do_and_stores_nothing(
    hub: HubUnderTest, run_id: str
) -> None:
    plan = _planned(hub, run_id)
    assert plan == {
        "model": run_id,
        "revision": hub.run(run_id)["adapter_revision"],
        "base_model": MODEL,
        "active_revision": None,
        "moves_alias": True,
        "deployment": None,
    }
    assert _shown(hub, everything=True) == {}
    live = hub.make_live(run_id)
    same, other, beside = (
        _planned(hub, run_id),
        _planned(hub, f"{run_id}/step-1"),
        _planned(hub, f"{run_id}/step-1", stage=True),
    )
    assert {each["active_revision"] for each in (same, other, beside)} == {live["revision"]}
    assert [each["moves_alias"] for each in (same, other, beside)] == [False, True, False]
    assert [each["deployment"] for each in (same, other, beside)] == [live["id"], None, None]
    assert _shown(hub, everything=True) == {live["id"]: ("ready", True)}


@pytest.mark.parametrize(
    "adapter", ["{run}/step-9", "{run}@final." + "0" * 40, "run-0000000000", "what?"]
)
def test_a_dry_run_refuses_what_a_deploy_refuses(
    hub: HubUnderTest, run_id: str, adapter: str
) -> None:
    refusals = [
        hub.user.post(
            "/v1/deployments", json={"adapter": adapter.format(run=run_id), "dry_run": dry_run}
        )
        for dry_run in (True, False)
    ]
    assert refusals[0].is_client_error
    assert refusals[0].json() == refusals[1].json()


def test_a_dry_run_looks_for_the_weights_too(hub: HubUnderTest, run_id: str) -> None:
    _change_catalog(hub, "newer")
    refusal = hub.user.post("/v1/deployments", json={"adapter": run_id, "dry_run": True})
    assert refusal.status_code == 409


# At once


def test_deploys_of_one_revision_at_once_are_one_deployment(any_hub: HubUnderTest) -> None:
    any_hub.publish()
    run_id = any_hub.train()
    with ThreadPoolExecutor(4) as threads:
        made = list(threads.map(any_hub.deploy, [run_id] * 4))
    assert len({each["id"] for each in made}) == 1


def test_of_two_deploys_at_once_the_later_has_the_alias(any_hub: HubUnderTest) -> None:
    any_hub.publish()
    run_id = any_hub.train()
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(any_hub.deploy, [run_id, f"{run_id}/step-1"]))
    later = any_hub.user.get("/v1/deployments").json()["deployments"][0]
    tasks = [any_hub.claim_deployment() for _ in range(2)]
    with ThreadPoolExecutor(2) as threads:
        told = list(threads.map(lambda task: any_hub.advance(task, "smoking", "ready"), tasks))
    assert [answer.status_code for answer in told] == [204, 204]
    assert any_hub.resolve(run_id).json()["revision"] == later["revision"]
    assert sorted(_shown(any_hub).values()) == [("ready", False), ("ready", True)]


def test_an_undeploy_leaves_nothing_of_what_came_before_it(any_hub: HubUnderTest) -> None:
    """Whichever comes first at the alias: a later deploy stays whole, an earlier one goes."""
    any_hub.publish()
    run_id = any_hub.train()
    for _ in range(5):
        any_hub.make_live(f"{run_id}/step-1")
        any_hub.deploy(run_id)
        task = any_hub.claim_deployment()
        any_hub.advance(task, "smoking")
        with ThreadPoolExecutor(3) as threads:
            gone = threads.submit(any_hub.user.delete, f"/v1/deployments/{run_id}")
            ready = threads.submit(any_hub.advance, task, "ready")
            again = threads.submit(any_hub.deploy, f"{run_id}/step-1")
        assert gone.result().status_code == 204
        assert ready.result().status_code in (204, 409)
        assert set(_shown(any_hub)) <= {again.result()["id"]}
        assert any_hub.resolve(run_id).status_code == 404
        any_hub.user.delete(f"/v1/deployments/{run_id}")


def test_a_listing_comes_in_pages(any_hub: HubUnderTest) -> None:
    any_hub.publish()
    run_id = _saved(any_hub, steps=5)
    made = [any_hub.deploy(f"{run_id}/step-{step}")["id"] for step in (1, 2, 3)]
    any_hub.clock.advance(1)
    made += [any_hub.deploy(f"{run_id}/step-{step}")["id"] for step in (4, 5)]

    seen: list[str] = []
    cursor: str | None = None
    while not seen or cursor is not None:
        params: dict[str, str | int] = {"limit": 2, **({"cursor": cursor} if cursor else {})}
        page = any_hub.user.get("/v1/deployments", params=params).json()
        seen += [each["id"] for each in page["deployments"]]
        cursor = page["next_cursor"]
    assert seen == made[::-1]


@pytest.mark.parametrize(
    "parts", [["x"], ["now", "1", "d"], ["2030-01-01", "1", "d"], ["2030-01-01T00:00Z", "9e9", "d"]]
)
def test_a_cursor_that_the_hub_did_not_make_is_refused(hub: HubUnderTest, parts: list[str]) -> None:
    answer = hub.user.get("/v1/deployments", params={"cursor": encode_cursor(*parts)})
    assert (answer.status_code, error_of(answer)["code"]) == (422, "invalid_input")


def _shown(hub: HubUnderTest, *, everything: bool = False) -> dict[str, tuple[str, bool]]:
    """Return the state of every deployment, and whether its alias points to it."""
    listed = hub.user.get("/v1/deployments", params={"all": everything}).json()["deployments"]
    return {each["id"]: (each["state"], each["active"]) for each in listed}


def _planned(hub: HubUnderTest, adapter: str, *, stage: bool = False) -> Document:
    body = {"adapter": adapter, "stage": stage, "dry_run": True}
    response = hub.user.post("/v1/deployments", json=body)
    assert response.status_code == 200, response.text
    plan: Document = response.json()
    return plan


def _saved(hub: HubUnderTest, *, steps: int) -> str:
    """Return a run that goes on, with so many checkpoints."""
    run_id = hub.submit()
    lease = hub.claim()
    hub.report(lease, "start", {"total_steps": steps + 1})
    for step in range(1, steps + 1):
        hub.save(lease, step, str(step).encode())
    return run_id


def _change_catalog(hub: HubUnderTest, revision: str | None) -> None:
    """Restart the hub, as it were, with another revision of the base model, or without it."""
    entry = hub.resources.catalog[MODEL]
    changed = {} if revision is None else {MODEL: entry.model_copy(update={"revision": revision})}
    hub.app.state.resources = replace(hub.resources, catalog=changed)


def _served(hub: HubUnderTest, key: str | None = None) -> list[str]:
    key_hash = sha256((key or hub.keys.user).encode()).hexdigest()
    listed = hub.gateway.post("/v1/gateway/models", json={"key_hash": key_hash}).json()["models"]
    return [model["id"] for model in listed]
