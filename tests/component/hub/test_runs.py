"""Submit runs, follow them, cancel them."""

import pytest

from freesolo.domain.catalog import BUILT_IN
from hub_server.models import Run
from hub_server.paging import encode_cursor
from tests.component.hub.harness import MODEL, HubUnderTest, error_of

LOG_LINE = {"kind": "log", "data": {"message": "hello"}}
SPEC = {"model": MODEL, "environment": {"id": "local/agree"}}


def test_a_submitted_run_is_queued_and_pinned(hub: HubUnderTest) -> None:
    published = hub.publish()
    run = hub.run(hub.submit(max_steps=3))
    assert run["state"] == "queued"
    assert run["environment"] == {
        "ref": "local/agree",
        "version": "0.1.0",
        "tree_digest": published["tree_digest"],
    }
    assert run["spec"]["train"]["max_steps"] == 3
    assert run["model_revision"]
    assert run["project"]


def test_a_run_stays_on_the_version_it_was_submitted_with(hub: HubUnderTest) -> None:
    hub.publish(version="1.0")
    run_id = hub.submit()
    hub.publish(version="2.0")
    assert hub.run(run_id)["environment"]["version"] == "1.0"


def test_a_dry_run_checks_everything_and_queues_nothing(hub: HubUnderTest) -> None:
    hub.publish()
    response = hub.user.post("/v1/runs", json={"spec": SPEC, "dry_run": True})
    assert response.status_code == 200
    assert response.json()["environment"]["version"] == "0.1.0"
    assert not hub.claim()


DID_YOU_MEAN = (
    f"Did you mean `{MODEL}`? `freesolo models` lists those that are; `freesolo models add {MODEL}s` "
    "adds this one from the Hugging Face hub."
)


@pytest.mark.parametrize(
    ("change", "status", "code", "hint"),
    [
        ({"model": f"{MODEL}s"}, 404, "model_not_found", DID_YOU_MEAN),
        (
            {"environment": {"id": "local/agreed"}},
            404,
            "environment_not_found",
            "Did you mean `local/agree`?",
        ),
        ({"environment": {"id": "local/agree@0.1.1"}}, 404, "version_not_found", None),
        ({"environment": {"id": "acme/agree"}}, 404, "environment_not_found", None),
        ({"train": {"lora_rnk": 8}}, 422, "invalid_train_spec", None),
        ({"train": {"lora_rank": 512}}, 422, "invalid_train_spec", None),
        ({"project": "00000000-0000-0000-0000-000000000000"}, 404, "project_not_found", None),
    ],
)
def test_what_cannot_be_trained_is_refused_at_submit(
    hub: HubUnderTest, change: dict[str, object], status: int, code: str, hint: str | None
) -> None:
    hub.publish()
    response = hub.user.post("/v1/runs", json={"spec": SPEC | change, "dry_run": True})
    assert (response.status_code, error_of(response)["code"]) == (status, code)
    if hint is not None:
        assert error_of(response)["hint"] == hint


def test_a_submit_repeated_with_its_key_is_one_run(hub: HubUnderTest) -> None:
    hub.publish()
    answers = [
        hub.user.post("/v1/runs", json={"spec": SPEC}, headers={"Idempotency-Key": "k"}).json()
        for _ in range(2)
    ]
    assert answers[0] == answers[1]
    assert len(hub.user.get("/v1/runs").json()["runs"]) == 1


def test_a_key_that_was_used_for_another_request_is_a_conflict(hub: HubUnderTest) -> None:
    hub.publish()
    headers = {"Idempotency-Key": "k"}
    hub.user.post("/v1/runs", json={"spec": SPEC}, headers=headers)
    other = hub.user.post("/v1/runs", json={"spec": SPEC | {"seed": 7}}, headers=headers)
    assert other.status_code == 409


def test_a_run_of_another_org_does_not_exist(hub: HubUnderTest) -> None:
    hub.publish()
    run_id = hub.submit()
    stranger = hub.client(hub.make_member("acme"))
    response = stranger.get(f"/v1/runs/{run_id}")
    assert (response.status_code, error_of(response)["code"]) == (404, "run_not_found")


def test_runs_are_listed_newest_first_page_by_page(any_hub: HubUnderTest) -> None:
    any_hub.publish()
    submitted = []
    for _ in range(3):
        submitted.append(any_hub.submit())
        any_hub.clock.advance(1)
    first = any_hub.user.get("/v1/runs", params={"limit": 2}).json()
    rest = any_hub.user.get("/v1/runs", params={"cursor": first["next_cursor"]}).json()
    assert [run["id"] for run in first["runs"] + rest["runs"]] == submitted[::-1]
    assert rest["next_cursor"] is None


def test_events_are_read_from_where_the_reader_stopped(hub: HubUnderTest) -> None:
    hub.publish()
    run_id = hub.submit()
    lease = hub.claim()
    hub.report(lease, "events", {"first": 0, "events": [LOG_LINE]})
    page = hub.user.get(f"/v1/runs/{run_id}/events", params={"after": 1}).json()
    assert [(event["seq"], event["kind"]) for event in page["events"]] == [(2, "state"), (3, "log")]
    assert page["state"] == "starting"


def test_a_run_keeps_the_last_value_of_each_metric(hub: HubUnderTest) -> None:
    hub.publish()
    run_id = hub.submit()
    lease = hub.claim()
    for step, data in ((1, {"loss": 2.0, "epoch": 0.1}), (2, {"loss": 1.5})):
        events = [{"kind": "metrics", "step": step, "data": data}]
        assert hub.report(lease, "events", {"first": step - 1, "events": events}).status_code == 204
    run = hub.run(run_id)
    assert (run["step"], run["metrics"]) == (2, {"loss": 1.5, "epoch": 0.1})


def test_a_metric_that_is_not_finite_is_kept_as_nothing(any_hub: HubUnderTest) -> None:
    any_hub.publish()
    run_id = any_hub.submit()
    lease = any_hub.claim()
    body = '{"first": 0, "events": [{"kind": "metrics", "step": 1, "data": {"loss": NaN}}]}'
    response = any_hub.worker.post(
        f"/v1/leases/{run_id}/events",
        content=body,
        headers={"Freesolo-Lease": lease["token"], "Content-Type": "application/json"},
    )
    assert response.status_code == 204
    events = any_hub.user.get(f"/v1/runs/{run_id}/events").json()["events"]
    assert events[-1]["data"] == {"loss": None}


def test_a_queued_run_is_cancelled_at_once(hub: HubUnderTest) -> None:
    hub.publish()
    run_id = hub.submit()
    assert hub.user.post(f"/v1/runs/{run_id}/cancel").json()["state"] == "cancelled"
    assert not hub.claim()


def test_a_training_run_is_cancelled_when_its_worker_lets_go(hub: HubUnderTest) -> None:
    hub.publish()
    run_id = hub.submit()
    lease = hub.claim()
    assert hub.user.post(f"/v1/runs/{run_id}/cancel").json()["state"] == "starting"
    assert hub.report(lease, "heartbeat").json()["cancel_requested"] is True
    assert hub.report(lease, "release").status_code == 204
    assert hub.run(run_id)["state"] == "cancelled"


def test_a_run_that_ended_cannot_be_cancelled(hub: HubUnderTest) -> None:
    hub.publish()
    response = hub.user.post(f"/v1/runs/{hub.train()}/cancel")
    assert (response.status_code, error_of(response)["code"]) == (
        409,
        "illegal_transition_conflict",
    )


def test_checkpoints_are_listed_by_step_with_their_revisions(hub: HubUnderTest) -> None:
    hub.publish()
    run_id = hub.train()
    found = hub.user.get(f"/v1/runs/{run_id}/checkpoints").json()["checkpoints"]
    assert [point["step"] for point in found] == [1, 2]
    assert found[0]["revision"].startswith(f"{run_id}@step-1.")


def test_a_new_project_can_hold_runs(hub: HubUnderTest) -> None:
    hub.publish()
    project = hub.user.post("/v1/projects", json={"slug": "papers"}).json()
    response = hub.user.post("/v1/runs", json={"spec": SPEC | {"project": project["id"]}})
    assert response.json()["project"] == project["id"]
    listed = hub.user.get("/v1/projects").json()["projects"]
    assert [each["slug"] for each in listed] == ["default", "papers"]


def test_a_run_that_the_rules_of_today_refuse_is_still_shown(hub: HubUnderTest) -> None:
    hub.publish()
    old = _submitted_under_other_rules(hub)
    assert hub.run(old)["spec"]["train"]["lora_rank"] == 0
    assert [run["id"] for run in hub.user.get("/v1/runs").json()["runs"]] == [old]


def test_a_run_that_the_rules_of_today_refuse_fails_and_holds_up_no_other(
    any_hub: HubUnderTest,
) -> None:
    any_hub.publish()
    old = _submitted_under_other_rules(any_hub)
    any_hub.clock.advance(1)
    new = any_hub.submit()
    assert any_hub.claim()["run_id"] == new
    run = any_hub.run(old)
    assert (run["state"], run["error"]["code"]) == ("failed", "invalid_train_spec")
    assert "train.lora_rank" in run["error"]["message"]


def test_the_catalog_is_listed(hub: HubUnderTest) -> None:
    models = hub.user.get("/v1/models").json()["models"]
    assert [model["id"] for model in models] == sorted(BUILT_IN)
    assert [model["added"] for model in models] == [False] * len(models)


@pytest.mark.parametrize(
    "moment", ["yesterday", "2030-01-01T00:00:00", "0001-01-01T00:00:00+14:00"]
)
def test_a_cursor_without_a_moment_of_the_hubs_is_refused(hub: HubUnderTest, moment: str) -> None:
    cursor = encode_cursor(moment, "run-0000000000")
    response = hub.user.get("/v1/runs", params={"cursor": cursor})
    assert (response.status_code, error_of(response)["code"]) == (422, "invalid_input")


def _submitted_under_other_rules(hub: HubUnderTest) -> str:
    """Queue a run whose config would be refused now."""
    run_id = hub.submit()
    with hub.resources.sessions.begin() as session:
        run = session.get_one(Run, run_id)
        run.spec = {**run.spec, "train": {"lora_rank": 0}}
    return run_id
