"""How runs are tried: by whom, on what, how each attempt ended, and what the job says meanwhile."""

import pytest

from freesolo.schemas.leases import ticket_of
from hub_server.leases.service import MAX_FRUITLESS_ATTEMPTS
from hub_server.upkeep import sweep
from tests.component.hub.harness import MODEL, Document, HubUnderTest, SettableClock, error_of

LEASE_SECONDS = 30
DAY = 86_400


def submit_for(hub: HubUnderTest, **gpu: object) -> str:
    """Queue a run that asks for devices."""
    spec = {"model": MODEL, "environment": {"id": "local/agree"}, "gpu": gpu}
    response = hub.user.post("/v1/runs", json={"spec": spec})
    assert response.status_code == 201, response.text
    return str(response.json()["id"])


def claim_with(hub: HubUnderTest, device: str, count: int, worker: str = "big") -> Document:
    """Return the lease that a worker with these devices gets, empty if there is none for it."""
    body = {"worker_id": worker, "device_type": device, "device_count": count}
    response = hub.worker.post("/v1/leases/claim", json=body)
    assert response.is_success, response.text
    lease: Document = {} if response.status_code == 204 else response.json()
    return lease


def attempts(hub: HubUnderTest, run_id: str) -> list[Document]:
    found: list[Document] = hub.run(run_id)["attempts"]
    return found


def look(hub: HubUnderTest, lease: Document) -> Document:
    response = hub.worker.get(
        f"/v1/leases/{lease['run_id']}", headers={"Freesolo-Lease": lease["token"]}
    )
    document: Document = response.json()
    return document


def failure(code: str) -> Document:
    return {"error": {"code": code, "message": f"It was {code}."}, "retry": True}


def test_every_attempt_is_told_with_how_it_ended(any_hub: HubUnderTest) -> None:
    any_hub.publish()
    run_id = any_hub.submit()
    lease = any_hub.claim("first")
    any_hub.report(lease, "fail", failure("unavailable_job_died"))
    lease = any_hub.claim("second")
    any_hub.save(lease, 3)
    any_hub.clock.advance(LEASE_SECONDS + 1)
    any_hub.take_back_lost()
    any_hub.report(any_hub.claim("third"), "release")
    lease = any_hub.claim("fourth")
    any_hub.clock.advance(LEASE_SECONDS + 1)
    # Taken from the silent worker by the claim itself.
    lease = any_hub.claim("fifth")
    any_hub.report(lease, "start", {"total_steps": 3})
    any_hub.report(lease, "complete", {"step": 3})

    told = attempts(any_hub, run_id)
    assert [(made["worker"], made["outcome"]) for made in told] == [
        ("first", "retried"),
        ("second", "lost"),
        ("third", "released"),
        ("fourth", "lost"),
        ("fifth", "done"),
    ]
    assert [made["attempt"] for made in told] == [1, 2, 3, 4, 5]
    assert [(made["first_step"], made["last_step"]) for made in told] == [
        (0, 0),
        (0, 3),
        (3, 3),
        (3, 3),
        (3, 3),
    ]
    assert told[0]["error"]["message"] == "It was unavailable_job_died."
    assert told[1]["error"]["code"] == "unavailable_worker_lost"
    assert "'fourth'" in told[3]["error"]["message"]
    assert all(made["ended_at"] for made in told)


def test_an_attempt_that_goes_on_has_no_outcome(hub: HubUnderTest) -> None:
    hub.publish()
    run_id = hub.submit()
    hub.claim()
    (made,) = attempts(hub, run_id)
    assert (made["outcome"], made["ended_at"], made["error"]) == (None, None, None)


def test_a_cancelled_attempt_is_told_as_such(hub: HubUnderTest) -> None:
    hub.publish()
    run_id = hub.submit()
    lease = hub.claim()
    hub.user.post(f"/v1/runs/{run_id}/cancel")
    assert look(hub, lease)["cancel_requested"] is True
    hub.report(lease, "release")
    assert [made["outcome"] for made in attempts(hub, run_id)] == ["cancelled"]


@pytest.mark.parametrize(
    ("code", "tries"),
    [
        ("unavailable_job_died", MAX_FRUITLESS_ATTEMPTS),
        ("unavailable_stalled", 2),
        ("limit_memory", 2),
        ("unavailable_job_not_started", 2),
    ],
)
def test_a_run_fails_after_fewer_attempts_if_the_next_would_hardly_go_better(
    hub: HubUnderTest, code: str, tries: int
) -> None:
    hub.publish()
    run_id = hub.submit()
    for _ in range(tries):
        assert hub.run(run_id)["state"] == "queued"
        hub.report(hub.claim(), "fail", failure(code))
    run = hub.run(run_id)
    assert (run["state"], run["error"]["code"]) == ("failed", code)


def test_an_attempt_that_found_no_room_says_so_and_counts_for_nothing(
    any_hub: HubUnderTest,
) -> None:
    any_hub.publish()
    run_id = any_hub.submit()
    any_hub.report(any_hub.claim(), "fail", failure("unavailable_job_died"))
    reason = {"code": "unavailable_job_not_started", "message": "It never began: all is full."}
    for _ in range(MAX_FRUITLESS_ATTEMPTS):
        any_hub.report(any_hub.claim(), "release", {"reason": reason})
    for _ in range(MAX_FRUITLESS_ATTEMPTS - 1):
        assert any_hub.run(run_id)["state"] == "queued"
        any_hub.report(any_hub.claim(), "fail", failure("unavailable_job_died"))
    assert any_hub.run(run_id)["state"] == "failed"
    assert attempts(any_hub, run_id)[1]["error"]["message"] == reason["message"]
    events = any_hub.user.get(f"/v1/runs/{run_id}/events").json()["events"]
    told = [event["data"].get("message") for event in events]
    assert told.count(reason["message"]) == MAX_FRUITLESS_ATTEMPTS


def test_what_a_job_does_is_seen_by_its_worker_and_by_its_owner(hub: HubUnderTest) -> None:
    hub.publish()
    run_id = hub.submit()
    lease = hub.claim()
    assert look(hub, lease) == {"cancel_requested": False, "phase": None, "step": 0}
    step = {"kind": "metrics", "step": 4, "data": {"loss": 1.0}}
    hub.report(lease, "events", {"first": 0, "events": [step], "phase": "rollouts"})
    hub.report(lease, "events", {"first": 1, "events": []})
    assert look(hub, lease) == {"cancel_requested": False, "phase": "rollouts", "step": 4}
    assert hub.run(run_id)["phase"] == "rollouts"
    hub.report(lease, "release")
    assert hub.run(run_id)["phase"] is None


def test_who_lost_the_lease_sees_nothing(hub: HubUnderTest) -> None:
    hub.publish()
    hub.submit()
    lost = hub.claim()
    hub.clock.advance(LEASE_SECONDS + 1)
    hub.claim("worker-2")
    response = hub.worker.get(
        f"/v1/leases/{lost['run_id']}", headers={"Freesolo-Lease": lost["token"]}
    )
    assert (response.status_code, error_of(response)["code"]) == (409, "lease_lost_conflict")


def test_a_ticket_gets_the_lease_once_and_only_with_a_workers_key(hub: HubUnderTest) -> None:
    hub.publish()
    hub.submit()
    lease = hub.claim()
    body = {"ticket": ticket_of(lease["token"])}
    path = f"/v1/leases/{lease['run_id']}/collect"
    assert lease["token"] not in body["ticket"]
    assert hub.user.post(path, json=body).status_code == 403
    assert hub.worker.post(path, json={"ticket": "0" * 64}).status_code == 409
    assert hub.worker.post(path, json=body).json() == lease
    assert hub.worker.post(path, json=body).status_code == 409
    hub.report(lease, "release")
    lease = hub.claim()
    assert hub.worker.post(path, json=body).status_code == 409
    assert hub.worker.post(path, json={"ticket": ticket_of(lease["token"])}).json() == lease


def test_a_hub_that_was_away_holds_no_silence_against_a_worker(hub: HubUnderTest) -> None:
    hub.publish()
    run_id = hub.submit()
    lease = hub.claim()
    hub.clock.advance(10 * LEASE_SECONDS)
    # The same hub, started again.
    clock = SettableClock()
    clock.advance(10 * LEASE_SECONDS)
    with HubUnderTest(hub.resources.settings, clock, hub.keys) as again:
        assert again.claim("worker-2") == {}
        again.take_back_lost()
        assert again.report(lease, "heartbeat").status_code == 200
        clock.advance(LEASE_SECONDS + 1)
        assert again.claim("worker-2")["run_id"] == run_id


def test_a_worker_gets_only_runs_that_its_devices_can_serve(any_hub: HubUnderTest) -> None:
    any_hub.publish()
    big = submit_for(any_hub, type="H200")
    any_hub.clock.advance(1)
    small = submit_for(any_hub)
    assert any_hub.claim()["run_id"] == small
    assert not any_hub.claim()
    assert not claim_with(any_hub, "NVIDIA H100 80GB", 8)
    assert claim_with(any_hub, "NVIDIA H200", 1)["run_id"] == big


def test_a_run_that_nobody_can_serve_says_so(any_hub: HubUnderTest) -> None:
    any_hub.publish()
    run_id = submit_for(any_hub, type="H200")
    assert "No worker is known" in any_hub.run(run_id)["waits_because"]
    assert not any_hub.claim("small")
    reason = any_hub.run(run_id)["waits_because"]
    assert "has 'H200'" in reason
    assert "1 x cpu" in reason
    assert any_hub.run(submit_for(any_hub))["waits_because"] is None
    claim_with(any_hub, "NVIDIA H200", 8)
    assert any_hub.run(run_id)["waits_because"] is None


def test_a_dry_run_warns_of_what_nobody_can_serve(hub: HubUnderTest) -> None:
    hub.publish()
    spec = {"model": MODEL, "environment": {"id": "local/agree"}, "gpu": {"type": "H200"}}
    hub.claim("small")
    (warning,) = hub.user.post("/v1/runs", json={"spec": spec, "dry_run": True}).json()["warnings"]
    assert "has 'H200'" in warning


def test_a_worker_is_known_while_it_trains_and_forgotten_when_it_is_gone(
    any_hub: HubUnderTest,
) -> None:
    any_hub.publish()
    any_hub.submit()
    claim_with(any_hub, "NVIDIA H200", 1)
    waiting = submit_for(any_hub, type="H200")
    lease = claim_with(any_hub, "cpu", 1, worker="small")
    assert not lease
    any_hub.clock.advance(3600)
    # It has not asked for work for an hour, but it trains.
    assert any_hub.run(waiting)["waits_because"] is None
    any_hub.take_back_lost()
    assert "No worker is known" in any_hub.run(waiting)["waits_because"]
    any_hub.clock.advance(2 * DAY)
    sweep(any_hub.resources, now=any_hub.clock())
    assert any_hub.run(waiting)["waits_because"] is not None


def test_a_worker_that_trains_for_days_is_not_forgotten(any_hub: HubUnderTest) -> None:
    any_hub.publish()
    any_hub.submit()
    lease = claim_with(any_hub, "NVIDIA H200", 1)
    waiting = submit_for(any_hub, type="H200")
    any_hub.clock.advance(2 * DAY)
    any_hub.report(lease, "heartbeat")
    sweep(any_hub.resources, now=any_hub.clock())
    assert any_hub.run(waiting)["waits_because"] is None


def test_an_attempt_that_dies_silently_came_as_far_as_it_began(hub: HubUnderTest) -> None:
    hub.publish()
    run_id = hub.submit()
    lease = hub.claim("first")
    hub.save(lease, 5)
    step = {"kind": "metrics", "step": 7, "data": {"loss": 1.0}}
    hub.report(lease, "events", {"first": 0, "events": [step]})
    for worker in ("second", "third"):
        hub.clock.advance(LEASE_SECONDS + 1)
        hub.claim(worker)
    told = attempts(hub, run_id)
    assert [(made["first_step"], made["last_step"]) for made in told] == [(0, 7), (5, 5), (5, None)]
    assert hub.run(run_id)["step"] == 5
