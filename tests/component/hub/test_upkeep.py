"""The thread beside the requests: nothing that goes wrong in it ends it."""

import logging
import threading
from dataclasses import replace
from datetime import datetime

import pytest
from sqlalchemy import text

from hub_server.upkeep import upkeep
from tests.component.hub.harness import HubUnderTest

LEASE_SECONDS = 30


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
            raise RuntimeError("No time.")
        came_back.set()
        return hub.clock()

    settings = hub.resources.settings.model_copy(update={"lease_seconds": 0.03})
    with (
        caplog.at_level(logging.ERROR, logger="hub_server.upkeep"),
        upkeep(replace(hub.resources, settings=settings, clock=clock)),
    ):
        assert came_back.wait(5)
    assert [record.message for record in caplog.records] == ["upkeep failed"]
