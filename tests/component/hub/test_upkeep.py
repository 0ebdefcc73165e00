"""The thread beside the requests: nothing that goes wrong in it ends it."""

import logging
import threading
from dataclasses import replace
from datetime import datetime
from hashlib import sha256

import pytest
from sqlalchemy import select, text

from hub_server.billing import service as billing
from hub_server.models import RequestRecord
from hub_server.upkeep import sweep, upkeep
from tests.component.hub.harness import REPLICA, HubUnderTest

LEASE_SECONDS = 30
DAY = 86_400


def test_a_row_that_cannot_be_read_holds_up_no_other(
    any_hub: HubUnderTest, caplog: pytest.LogCaptureFixture
) -> None:
    any_hub.publish()
    runs = [any_hub.submit() for _ in range(3)]
    leases = [any_hub.claim() for _ in runs]
    bad = leases[0]["run_id"]
    with any_hub.resources.sessions.begin() as session:
        session.execute(text("UPDATE runs SET environment = '[]' WHERE id = :id"), {"id": bad})
    any_hub.clock.advance(LEASE_SECONDS + 1)
    any_hub.take_back_lost()
    assert {any_hub.run(run_id)["state"] for run_id in runs if run_id != bad} == {"queued"}
    (record,) = [record for record in caplog.records if record.message == "run not taken back"]
    assert vars(record)["run"] == bad
    assert record.exc_info is not None


def test_the_thread_lives_on_after_a_failure(
    hub: HubUnderTest, caplog: pytest.LogCaptureFixture
) -> None:
    rounds = 0
    came_back = threading.Event()

    def clock() -> datetime:
        nonlocal rounds
        rounds += 1
        if rounds == 1:
            # No database takes a moment without a time zone.
            return hub.clock().replace(tzinfo=None)
        if rounds == 2:
            raise RuntimeError("No time.")
        came_back.set()
        return hub.clock()

    settings = hub.resources.settings.model_copy(update={"lease_seconds": 0.03})
    with (
        caplog.at_level(logging.ERROR, logger="hub_server.upkeep"),
        upkeep(replace(hub.resources, settings=settings, clock=clock)),
    ):
        assert came_back.wait(5)

    assert [record.message for record in caplog.records] == [
        "leases not extended",
        "leftovers not removed",
        "upkeep failed",
    ]


def test_a_hub_that_was_away_holds_no_silence_against_a_gateway_or_a_host(
    any_hub: HubUnderTest,
) -> None:
    hub, life = any_hub, "life-of-an-engine"
    hub.publish()
    deployment = hub.deploy(hub.train())
    task = hub.claim_deployment()
    hub.gateway.put(f"/v1/gateway/replicas/{life}", json=REPLICA)
    with hub.resources.sessions.begin() as session:
        billing.credit(session, "local", 100, note="", now=hub.clock())
    held = {"id": "a", "org": "local", "amount": 30}
    assert hub.gateway.post("/v1/gateway/holds", json=held).is_success

    hub.clock.advance(DAY)
    with upkeep(hub.resources):
        hub.take_back_lost()
        assert hub.advance(task, "smoking").status_code == 204
        replicas = hub.gateway.get("/v1/gateway/replicas").json()["replicas"]
        assert [replica["life"] for replica in replicas] == [life]
        assert hub.user.get("/v1/balance").json()["held"] == 30

        hub.clock.advance(max(LEASE_SECONDS, billing.HOLD_SECONDS) + 1)
        hub.take_back_lost()
        assert hub.deployment(deployment["id"])["state"] == "queued"
        assert hub.gateway.get("/v1/gateway/replicas").json()["replicas"] == []
        assert hub.user.get("/v1/balance").json()["held"] == 0


def test_blobs_that_nothing_refers_to_go_after_a_day(hub: HubUnderTest) -> None:
    published = hub.publish()
    hub.train()
    kept = set(_blobs(hub))
    assert published["archive_digest"] in kept
    # An archive, its wheel, and two checkpoints.
    assert len(kept) == 4
    _store(hub, b"old")
    hub.clock.advance(DAY + 1)
    young = _store(hub, b"young")
    sweep(hub.resources, now=hub.clock())
    assert set(_blobs(hub)) == kept | {young}


def test_a_blob_that_is_stored_again_is_as_good_as_new(hub: HubUnderTest) -> None:
    _store(hub, b"bytes")
    hub.clock.advance(DAY + 1)
    digest = _store(hub, b"bytes")
    sweep(hub.resources, now=hub.clock())
    assert _blobs(hub) == [digest]


def test_keys_of_repeated_requests_are_forgotten_after_a_day(any_hub: HubUnderTest) -> None:
    any_hub.publish()
    adapter = {"adapter": any_hub.train()}
    for key, seconds in (("old", DAY + 1), ("new", 0)):
        headers = {"Idempotency-Key": key}
        any_hub.user.post("/v1/deployments", json=adapter, headers=headers)
        any_hub.clock.advance(seconds)
    sweep(any_hub.resources, now=any_hub.clock())
    with any_hub.resources.readers() as session:
        assert session.scalars(select(RequestRecord.key)).all() == ["new"]


def _store(hub: HubUnderTest, content: bytes) -> str:
    digest = f"sha256:{sha256(content).hexdigest()}"
    assert hub.worker.put(f"/v1/blobs/{digest}", content=content).is_success
    return digest


def _blobs(hub: HubUnderTest) -> list[str]:
    return [entry.digest for entry in hub.resources.blobs.blobs()]
