"""Old checkpoints let go of what nobody needs, and of nothing else."""

from collections.abc import Iterator

import pytest

from hub_server.runs.retention import candidates
from hub_server.settings import HubSettings
from hub_server.upkeep import drop_checkpoints, sweep
from tests.component.hub.harness import HubUnderTest, SettableClock, error_of

DAY = 86_400


@pytest.fixture(params=["sqlite", "postgresql"])
def thrifty_hub(
    request: pytest.FixtureRequest, hub_settings: HubSettings
) -> Iterator[HubUnderTest]:
    """A hub that keeps only the newest adapter of a run, beside its result and what is served."""
    changes: dict[str, object] = {"keep_adapters": 1}
    if request.param == "postgresql":
        changes["database_url"] = request.getfixturevalue("postgres_url")
    with HubUnderTest(hub_settings.model_copy(update=changes), SettableClock()) as hub:
        yield hub


def kept(hub: HubUnderTest, run_id: str) -> dict[int, tuple[bool, bool]]:
    """Return which checkpoints have their adapter, and which their state."""
    points = hub.user.get(f"/v1/runs/{run_id}/checkpoints").json()["checkpoints"]
    return {point["step"]: (point["adapter_kept"], point["state_kept"]) for point in points}


def to_drop(hub: HubUnderTest) -> list[str]:
    """Return the runs that the next round of dropping looks at."""
    with hub.resources.readers() as session:
        return list(candidates(session, keep_adapters=hub.resources.settings.keep_adapters))


def blobs(hub: HubUnderTest) -> int:
    return len(list(hub.resources.blobs.blobs()))


def test_a_run_that_goes_on_keeps_the_state_of_its_newest_checkpoint(
    any_hub: HubUnderTest,
) -> None:
    any_hub.publish()
    run_id = any_hub.submit()
    lease = any_hub.claim()
    for step in (1, 2, 3):
        any_hub.save(lease, step, str(step).encode())
    drop_checkpoints(any_hub.resources)
    assert kept(any_hub, run_id) == {1: (True, False), 2: (True, False), 3: (True, True)}
    any_hub.report(lease, "release")
    assert any_hub.claim()["resume"]["step"] == 3


def test_a_run_that_ended_keeps_no_state(any_hub: HubUnderTest) -> None:
    any_hub.publish()
    run_id = any_hub.train()
    drop_checkpoints(any_hub.resources)
    assert kept(any_hub, run_id) == {1: (True, False), 2: (True, False)}
    drop_checkpoints(any_hub.resources)
    assert any_hub.deploy(f"{run_id}/step-1")["state"] == "queued"


def test_bytes_that_only_a_dropped_state_needed_go_and_shared_ones_stay(
    hub: HubUnderTest,
) -> None:
    hub.publish()
    # In these tests a checkpoint's adapter and state are the same bytes, and so one blob.
    run_id = hub.submit()
    lease = hub.claim()
    hub.save(lease, 1)
    hub.save(lease, 2)
    before = blobs(hub)
    hub.clock.advance(DAY + 1)
    drop_checkpoints(hub.resources)
    sweep(hub.resources, now=hub.clock())
    assert kept(hub, run_id)[1] == (True, False)
    assert blobs(hub) == before


def test_only_the_newest_adapters_are_kept_where_that_is_set(thrifty_hub: HubUnderTest) -> None:
    thrifty_hub.publish()
    run_id = thrifty_hub.submit()
    lease = thrifty_hub.claim()
    thrifty_hub.report(lease, "start", {"total_steps": 4})
    for step in (1, 2, 3, 4):
        thrifty_hub.save(lease, step, str(step).encode())
    thrifty_hub.deploy(f"{run_id}/step-2")
    before = blobs(thrifty_hub)
    assert to_drop(thrifty_hub) == [run_id]
    drop_checkpoints(thrifty_hub.resources)
    assert to_drop(thrifty_hub) == []
    assert kept(thrifty_hub, run_id) == {
        1: (False, False),
        2: (True, False),
        3: (False, False),
        4: (True, True),
    }
    thrifty_hub.clock.advance(DAY + 1)
    sweep(thrifty_hub.resources, now=thrifty_hub.clock())
    assert blobs(thrifty_hub) == before - 2

    refusal = thrifty_hub.user.post("/v1/deployments", json={"adapter": f"{run_id}/step-1"})
    assert (refusal.status_code, error_of(refusal)["code"]) == (404, "adapter_not_found")
    assert "was dropped" in error_of(refusal)["message"]


def test_a_result_is_kept_when_it_is_not_the_newest(thrifty_hub: HubUnderTest) -> None:
    thrifty_hub.publish()
    run_id = thrifty_hub.submit()
    lease = thrifty_hub.claim()
    thrifty_hub.report(lease, "start", {"total_steps": 2})
    for step in (1, 2, 3):
        thrifty_hub.save(lease, step, str(step).encode())
    thrifty_hub.report(lease, "complete", {"step": 2})
    drop_checkpoints(thrifty_hub.resources)
    assert to_drop(thrifty_hub) == []
    assert kept(thrifty_hub, run_id) == {1: (False, False), 2: (True, False), 3: (True, False)}


def test_the_same_checkpoint_told_again_brings_nothing_back(hub: HubUnderTest) -> None:
    hub.publish()
    run_id = hub.submit()
    lease = hub.claim()
    hub.save(lease, 1, b"one")
    hub.save(lease, 2, b"two")
    drop_checkpoints(hub.resources)
    hub.save(lease, 1, b"one")
    assert kept(hub, run_id) == {1: (True, False), 2: (True, True)}


@pytest.mark.parametrize("stage", [True, False])
def test_what_answers_by_its_revision_is_kept_whatever_the_alias_points_to(
    thrifty_hub: HubUnderTest, stage: bool
) -> None:
    thrifty_hub.publish()
    run_id = thrifty_hub.train()
    beside = thrifty_hub.make_live(f"{run_id}/step-1", stage=stage)
    thrifty_hub.make_live(run_id)
    drop_checkpoints(thrifty_hub.resources)
    assert (to_drop(thrifty_hub), kept(thrifty_hub, run_id)[1]) == ([], (True, False))
    assert thrifty_hub.resolve(beside["revision"]).status_code == 200


def test_what_was_withdrawn_is_dropped_at_last(thrifty_hub: HubUnderTest) -> None:
    thrifty_hub.publish()
    run_id = thrifty_hub.train()
    thrifty_hub.deploy(f"{run_id}/step-1")
    drop_checkpoints(thrifty_hub.resources)
    assert (to_drop(thrifty_hub), kept(thrifty_hub, run_id)[1]) == ([], (True, False))
    thrifty_hub.user.delete(f"/v1/deployments/{run_id}")
    drop_checkpoints(thrifty_hub.resources)
    assert (to_drop(thrifty_hub), kept(thrifty_hub, run_id)[1]) == ([], (False, False))
