"""The same run again, from what the first was bound to; and what is known of how runs went."""

from dataclasses import replace

import pytest
from httpx2 import Response

from freesolo.domain.catalog import with_models
from tests.component.hub.harness import MODEL, HubUnderTest, error_of
from tests.component.hub.test_leases import FAILURE, LEASE_SECONDS

PROVENANCE = {
    "algorithm": "sft",
    "base_model": {"id": MODEL, "revision": "1", "source": "path"},
    "environment": {"ref": "local/agree", "version": "1.0", "tree_digest": f"sha256:{'1' * 64}"},
    "spec": {"seed": 42},
    "seed": 42,
    "device": {"kind": "cpu", "threads": 2},
    "python": "3.11.9",
    "packages": {"torch": "2.11"},
}


def again(hub: HubUnderTest, run_id: str, *, key: str | None = None) -> Response:
    client = hub.client(key) if key else hub.user
    return client.post(f"/v1/runs/{run_id}/reproduce", json={})


def test_a_run_made_again_is_bound_to_what_the_first_was_bound_to(any_hub: HubUnderTest) -> None:
    any_hub.publish(version="1.0")
    first = any_hub.train()
    any_hub.publish(version="2.0", comment="newer")
    second = any_hub.user.post(
        "/v1/runs",
        json={
            "spec": {
                "model": MODEL,
                "environment": {"id": "local/agree"},
                "train": {"init_from_adapter": first},
                "seed": 7,
            }
        },
    ).json()
    lease = any_hub.claim()
    any_hub.save(lease, 1)
    any_hub.publish(version="3.0", comment="newest")

    run = again(any_hub, second["id"]).json()

    assert run["reproduces"] == second["id"]
    kept = ("spec", "environment", "model", "model_revision", "warm_start", "project")
    assert {key: run[key] for key in kept} == {key: second[key] for key in kept}
    assert any_hub.claim()["warm_start"] == lease["warm_start"]


def test_a_yanked_version_can_still_be_trained_on_again(hub: HubUnderTest) -> None:
    hub.publish(version="1.0")
    first = hub.train()
    hub.user.put("/v1/envs/local/agree/versions/1.0/yank", json={"reason": "It leaks."})
    assert again(hub, first).json()["environment"]["version"] == "1.0"


def test_a_deleted_version_says_so_before_anything_starts(hub: HubUnderTest) -> None:
    hub.publish(version="1.0")
    hub.publish(version="2.0", comment="newer")
    first = hub.train()
    assert hub.user.delete("/v1/envs/local/agree/versions/2.0").is_success
    response = again(hub, first)
    assert (response.status_code, error_of(response)["code"]) == (410, "version_tombstoned")
    assert "2.0 was deleted" in error_of(response)["message"]
    assert not hub.claim()


@pytest.mark.parametrize("change", [{"revision": "newer"}, None])
def test_a_base_model_that_changed_or_left_says_so(
    hub: HubUnderTest, change: dict[str, object] | None
) -> None:
    hub.publish()
    first = hub.train()
    entry = hub.resources.catalog[MODEL].model_copy(update=change or {"id": "acme/other"})
    catalog = with_models({}, [entry])
    hub.app.state.resources = replace(hub.resources, catalog=catalog)
    response = again(hub, first)
    assert response.status_code == (409 if change else 404)
    assert MODEL in error_of(response)["message"]


def test_a_run_that_saved_nothing_has_nothing_to_compare_with(hub: HubUnderTest) -> None:
    hub.publish()
    response = again(hub, hub.submit())
    assert (response.status_code, error_of(response)["code"]) == (409, "conflict")


def test_a_run_of_another_org_cannot_be_made_again(hub: HubUnderTest) -> None:
    hub.publish()
    response = again(hub, hub.train(), key=hub.make_member("acme"))
    assert (response.status_code, error_of(response)["code"]) == (404, "run_not_found")


def test_a_run_made_again_twice_with_one_key_is_one_run(hub: HubUnderTest) -> None:
    hub.publish()
    first = hub.train()
    path, headers = f"/v1/runs/{first}/reproduce", {"Idempotency-Key": "k"}
    answers = [hub.user.post(path, json={}, headers=headers).json()["id"] for _ in range(2)]
    assert answers[0] == answers[1]


def test_secrets_are_needed_again(hub: HubUnderTest) -> None:
    hub.publish()
    body = {
        "spec": {"model": MODEL, "environment": {"id": "local/agree", "secrets": ["JUDGE_KEY"]}},
        "secrets": {"JUDGE_KEY": "jk-1"},
    }
    first = hub.user.post("/v1/runs", json=body).json()["id"]
    hub.save(hub.claim(), 1)
    assert error_of(again(hub, first))["code"] == "invalid_secret_missing"
    handed = {"secrets": {"JUDGE_KEY": "jk-1"}}
    assert hub.user.post(f"/v1/runs/{first}/reproduce", json=handed).status_code == 201


def test_a_run_tells_what_made_its_adapters_once_training_has_begun(any_hub: HubUnderTest) -> None:
    any_hub.publish()
    run_id = any_hub.submit()
    assert any_hub.run(run_id)["provenance"] is None
    any_hub.report(any_hub.claim(), "start", {"total_steps": 1, "provenance": PROVENANCE})
    told = any_hub.run(run_id)["provenance"]
    assert (told["python"], told["packages"], told["device"]["kind"]) == (
        "3.11.9",
        {"torch": "2.11"},
        "cpu",
    )


def test_each_attempt_tells_how_it_ended(any_hub: HubUnderTest) -> None:
    any_hub.publish()
    run_id = any_hub.submit()
    assert any_hub.run(run_id)["attempts"] == []
    any_hub.report(any_hub.claim(), "fail", FAILURE | {"retry": True})
    any_hub.claim("worker-2")
    any_hub.clock.advance(LEASE_SECONDS + 1)
    any_hub.claim("worker-3")
    any_hub.clock.advance(LEASE_SECONDS + 1)
    any_hub.take_back_lost()
    lease = any_hub.claim("worker-4")
    any_hub.report(lease, "start", {"total_steps": 1})
    at_work = any_hub.run(run_id)["attempts"]
    any_hub.save(lease, 1)
    any_hub.report(lease, "complete", {"step": 1})
    ended = any_hub.run(run_id)["attempts"]

    assert [(each["number"], each["outcome"]) for each in at_work] == [
        (1, "queued"),
        (2, "queued"),
        (3, "queued"),
        (4, None),
    ]
    reasons = [each["reason"] for each in ended]
    assert reasons[0] == FAILURE["error"]["message"]
    assert "fell silent" in reasons[1]
    assert "'worker-3' fell silent" in reasons[2]
    assert (ended[3]["outcome"], reasons[3]) == ("done", None)
    assert ended[3]["ended_at"] is not None
