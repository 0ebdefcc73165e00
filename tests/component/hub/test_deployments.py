"""Deployments: asked for by members, made by gateways, found under their alias."""

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from hashlib import sha256

import pytest

from freesolo.domain.catalog import BUILT_IN
from hub_server.gateway.service import MAX_ATTEMPTS
from tests.component.hub.harness import MODEL, HubUnderTest, error_of

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
    shown = hub.user.get(f"/v1/deployments/{deployment['id']}").json()
    assert (shown["state"], shown["error"]["message"]) == ("failed", SMOKE_FAILED["message"])


def test_a_deployment_cannot_skip_its_smoke(hub: HubUnderTest, run_id: str) -> None:
    hub.deploy(run_id)
    assert hub.advance(hub.claim_deployment(), "ready").status_code == 409
    assert hub.resolve(run_id).status_code == 404


def test_a_new_deployment_replaces_the_one_before(hub: HubUnderTest, run_id: str) -> None:
    old = hub.make_live(f"{run_id}/step-1")
    new = hub.make_live(run_id)
    shown = hub.user.get("/v1/deployments", params={"all": True}).json()["deployments"]
    assert {each["id"]: each["state"] for each in shown} == {
        old["id"]: "undeployed",
        new["id"]: "ready",
    }
    assert hub.resolve(run_id).json()["revision"] == new["revision"]


def test_a_slow_deployment_does_not_replace_one_asked_for_later(any_hub: HubUnderTest) -> None:
    any_hub.publish()
    run_id = any_hub.train()
    any_hub.deploy(f"{run_id}/step-1")
    slow = any_hub.claim_deployment()
    later = any_hub.make_live(run_id)
    assert any_hub.advance(slow, "smoking", "ready").status_code == 204
    assert any_hub.resolve(run_id).json()["revision"] == later["revision"]
    shown = any_hub.user.get(f"/v1/deployments/{slow['id']}").json()
    assert (shown["state"], shown["active"]) == ("undeployed", False)


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


def test_undeploying_ends_what_is_live_and_what_is_coming(hub: HubUnderTest, run_id: str) -> None:
    hub.make_live(f"{run_id}/step-1")
    hub.deploy(run_id)
    coming = hub.claim_deployment()
    assert hub.user.delete(f"/v1/deployments/{run_id}").status_code == 204
    assert hub.advance(coming, "smoking").status_code == 409
    assert hub.resolve(run_id).status_code == 404
    assert hub.user.get("/v1/deployments").json()["deployments"] == []


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
        shown = any_hub.user.get(f"/v1/deployments/{deployment['id']}").json()
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


def _change_catalog(hub: HubUnderTest, revision: str | None) -> None:
    """Restart the hub, as it were, with another revision of the base model, or without it."""
    entry = hub.resources.catalog[MODEL]
    changed = {} if revision is None else {MODEL: entry.model_copy(update={"revision": revision})}
    hub.app.state.resources = replace(hub.resources, catalog=changed)


def _served(hub: HubUnderTest) -> list[str]:
    key_hash = sha256(hub.keys.user.encode()).hexdigest()
    listed = hub.gateway.post("/v1/gateway/models", json={"key_hash": key_hash}).json()["models"]
    return [model["id"] for model in listed]
