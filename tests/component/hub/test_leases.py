"""Workers claim runs, keep them, lose them, end them."""

from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from hub_server.leases.service import MAX_FRUITLESS_ATTEMPTS
from tests.component.hub.harness import Document, HubUnderTest, error_of
from tests.hubs import serving

LEASE_SECONDS = 30
FAILURE = {"error": {"code": "internal", "message": "It broke."}}


@pytest.fixture
def run_id(hub: HubUnderTest) -> str:
    """A queued run."""
    hub.publish()
    return hub.submit()


def test_a_claim_hands_over_everything_a_worker_needs(hub: HubUnderTest, run_id: str) -> None:
    lease = hub.claim()
    assert (lease["run_id"], lease["attempt"], lease["lease_seconds"]) == (run_id, 1, 30)
    assert lease["environment"]["archive_digest"].startswith("sha256:")
    assert lease["model"]["id"] == lease["spec"]["model"]
    assert lease["resume"] is None
    assert hub.run(run_id)["state"] == "starting"


def test_runs_are_claimed_in_the_order_they_were_submitted(hub: HubUnderTest) -> None:
    hub.publish()
    submitted = []
    for _ in range(3):
        submitted.append(hub.submit())
        hub.clock.advance(0.001)
    assert [hub.claim()["run_id"] for _ in range(3)] == submitted


def test_workers_that_claim_at_once_get_different_runs(any_hub: HubUnderTest) -> None:
    any_hub.publish()
    submitted = {any_hub.submit() for _ in range(8)}

    def work(worker: int) -> list[str]:
        claimed = []
        while lease := any_hub.claim(f"worker-{worker}"):
            claimed.append(lease["run_id"])
        return claimed

    with ThreadPoolExecutor(4) as threads:
        claimed = [run_id for claims in threads.map(work, range(4)) for run_id in claims]
    assert len(claimed) == len(submitted)
    assert set(claimed) == submitted


def test_a_heartbeat_keeps_the_lease(hub: HubUnderTest, run_id: str) -> None:
    lease = hub.claim()
    for _ in range(3):
        hub.clock.advance(LEASE_SECONDS - 1)
        assert hub.report(lease, "heartbeat").status_code == 200
        hub.take_back_lost()
    assert not hub.claim("worker-2")


def test_a_run_whose_worker_fell_silent_goes_to_another(any_hub: HubUnderTest) -> None:
    any_hub.publish()
    run_id = any_hub.submit()
    any_hub.claim("worker-1")
    any_hub.clock.advance(LEASE_SECONDS + 1)
    lease = any_hub.claim("worker-2")
    assert (lease["run_id"], lease["attempt"]) == (run_id, 2)


def test_a_run_whose_worker_fell_silent_is_shown_as_queued(hub: HubUnderTest, run_id: str) -> None:
    hub.claim()
    hub.clock.advance(LEASE_SECONDS + 1)
    hub.take_back_lost()
    assert hub.run(run_id)["state"] == "queued"


@pytest.mark.parametrize(
    ("call", "body"),
    [
        ("heartbeat", None),
        ("start", {"total_steps": 1}),
        ("events", {"first": 0, "events": []}),
        ("complete", {"step": 1}),
        ("fail", FAILURE),
        ("release", None),
    ],
)
def test_a_worker_that_lost_its_lease_can_do_nothing(
    hub: HubUnderTest, run_id: str, call: str, body: object
) -> None:
    lost = hub.claim("worker-1")
    hub.clock.advance(LEASE_SECONDS + 1)
    hub.claim("worker-2")
    response = hub.report(lost, call, body)
    assert (response.status_code, error_of(response)["code"]) == (409, "lease_lost_conflict")


def test_the_next_attempt_goes_on_from_the_newest_checkpoint(
    hub: HubUnderTest, run_id: str
) -> None:
    lease = hub.claim()
    hub.save(lease, 1, b"one")
    saved = hub.save(lease, 2, b"two")
    hub.clock.advance(LEASE_SECONDS + 1)
    resume = hub.claim()["resume"]
    assert resume["step"] == 2
    assert resume["adapter"]["tree_digest"] == saved["digest"]


def test_saying_twice_that_training_begins_is_harmless(hub: HubUnderTest, run_id: str) -> None:
    lease = hub.claim()
    for _ in range(2):
        assert hub.report(lease, "start", {"total_steps": 2}).status_code == 204
    assert hub.run(run_id)["state"] == "running"


def test_a_batch_of_events_sent_again_is_kept_once(any_hub: HubUnderTest) -> None:
    any_hub.publish()
    run_id = any_hub.submit()
    lease = any_hub.claim()
    lines = [{"kind": "log", "data": {"message": text}} for text in ("one", "two", "three")]
    any_hub.report(lease, "events", {"first": 0, "events": lines[:2]})
    any_hub.report(lease, "events", {"first": 0, "events": lines})
    any_hub.report(lease, "events", {"first": 0, "events": lines[:1]})
    assert _messages(any_hub, run_id) == ["one", "two", "three"]


def test_each_attempt_counts_its_events_anew(hub: HubUnderTest, run_id: str) -> None:
    batch = {"first": 0, "events": [{"kind": "log", "data": {"message": "hello"}}]}
    for _ in range(2):
        lease = hub.claim()
        hub.report(lease, "events", batch)
        hub.report(lease, "release")
    assert _messages(hub, run_id) == ["hello", "hello"]


def test_a_completed_run_has_the_adapter_of_its_last_step(hub: HubUnderTest, run_id: str) -> None:
    lease = hub.claim()
    hub.report(lease, "start", {"total_steps": 2})
    digest = hub.save(lease, 2)["digest"].removeprefix("sha256:")
    assert hub.report(lease, "complete", {"step": 2}).status_code == 204
    run = hub.run(run_id)
    assert (run["state"], run["total_steps"]) == ("done", 2)
    assert run["adapter_revision"] == f"{run_id}@final.{digest[:40]}"
    assert run["ended_at"] is not None


def test_a_run_cannot_be_completed_with_a_step_it_did_not_save(
    hub: HubUnderTest, run_id: str
) -> None:
    lease = hub.claim()
    hub.report(lease, "start", {"total_steps": 2})
    response = hub.report(lease, "complete", {"step": 2})
    assert error_of(response)["code"] == "adapter_not_found"
    assert hub.run(run_id)["state"] == "running"


def test_recording_a_checkpoint_twice_changes_nothing(hub: HubUnderTest, run_id: str) -> None:
    lease = hub.claim()
    assert hub.save(lease, 1) == hub.save(lease, 1)


def test_the_adapter_of_a_step_never_changes(hub: HubUnderTest, run_id: str) -> None:
    lease = hub.claim()
    hub.save(lease, 1, b"weights")
    assert hub.try_to_save(lease, 1, b"other weights").status_code == 409


def test_a_checkpoint_whose_bytes_are_not_stored_is_refused(hub: HubUnderTest, run_id: str) -> None:
    lease = hub.claim()
    point = {"tree_digest": f"sha256:{'1' * 64}", "archive_digest": f"sha256:{'2' * 64}", "size": 1}
    response = hub.report(lease, "checkpoints", {"step": 1, "adapter": point, "state": point})
    assert (response.status_code, error_of(response)["code"]) == (404, "blob_not_found")


def test_a_failed_run_tells_why_with_the_authors_traceback(hub: HubUnderTest, run_id: str) -> None:
    error = {
        "code": "env_failed",
        "message": "The reward raised.",
        "hint": None,
        "traceback": "environment.py, line 3",
    }
    hub.report(hub.claim(), "fail", {"error": error})
    run = hub.run(run_id)
    assert (run["state"], run["error"]) == ("failed", error)


def test_a_failure_that_may_pass_gives_the_run_back(hub: HubUnderTest, run_id: str) -> None:
    hub.report(hub.claim(), "fail", FAILURE | {"retry": True})
    assert hub.run(run_id)["state"] == "queued"
    assert hub.claim()["attempt"] == 2


def test_a_run_fails_after_several_attempts_that_saved_nothing(
    hub: HubUnderTest, run_id: str
) -> None:
    for _ in range(MAX_FRUITLESS_ATTEMPTS):
        hub.report(hub.claim(), "fail", FAILURE | {"retry": True})
    run = hub.run(run_id)
    assert run["state"] == "failed"
    assert "5 attempts in a row" in run["error"]["message"]
    assert "It broke." in run["error"]["message"]


def test_a_run_that_keeps_losing_its_worker_fails(hub: HubUnderTest, run_id: str) -> None:
    for _ in range(MAX_FRUITLESS_ATTEMPTS):
        assert hub.claim()
        hub.clock.advance(LEASE_SECONDS + 1)
    assert not hub.claim()
    hub.take_back_lost()
    assert hub.run(run_id)["state"] == "failed"


def test_a_checkpoint_counts_as_progress(hub: HubUnderTest, run_id: str) -> None:
    for attempt in range(1, MAX_FRUITLESS_ATTEMPTS + 2):
        lease = hub.claim()
        hub.save(lease, attempt, str(attempt).encode())
        hub.report(lease, "fail", FAILURE | {"retry": True})
    assert hub.run(run_id)["state"] == "queued"


def test_a_worker_that_stops_gives_its_run_back_unharmed(hub: HubUnderTest, run_id: str) -> None:
    for _ in range(MAX_FRUITLESS_ATTEMPTS + 1):
        hub.report(hub.claim(), "release")
    assert hub.run(run_id)["state"] == "queued"


def test_a_lost_run_that_was_to_be_cancelled_is_cancelled(hub: HubUnderTest, run_id: str) -> None:
    hub.claim()
    hub.user.post(f"/v1/runs/{run_id}/cancel")
    hub.clock.advance(LEASE_SECONDS + 1)
    assert not hub.claim()
    hub.take_back_lost()
    assert hub.run(run_id)["state"] == "cancelled"


def test_more_calls_at_once_than_the_hub_has_threads_are_all_answered(
    any_hub: HubUnderTest,
) -> None:
    any_hub.publish()
    calls = 60
    for _ in range(calls):
        any_hub.submit()
    leases = [any_hub.claim() for _ in range(calls)]
    with (
        serving(any_hub.app) as url,
        httpx.Client(base_url=url, timeout=20, limits=httpx.Limits(max_connections=calls)) as http,
        ThreadPoolExecutor(calls) as callers,
    ):

        def beat(lease: Document) -> int:
            headers = {
                "Authorization": f"Bearer {any_hub.keys.worker}",
                "Freesolo-Lease": lease["token"],
            }
            return http.post(f"/v1/leases/{lease['run_id']}/heartbeat", headers=headers).status_code

        assert list(callers.map(beat, leases)) == [200] * calls


def _messages(hub: HubUnderTest, run_id: str) -> list[str]:
    events = hub.user.get(f"/v1/runs/{run_id}/events").json()["events"]
    return [event["data"]["message"] for event in events if event["kind"] == "log"]
