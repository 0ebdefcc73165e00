"""The ledger when both witnesses speak at the same moment."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from sqlalchemy import text
from tenacity import Retrying, retry_if_not_result, stop_after_delay, wait_fixed

from freesolo.domain.prices import Prices
from freesolo.schemas.usage import UsageRecord, Witness
from hub_server.billing import service
from hub_server.settings import HubSettings
from tests.component.hub.harness import MODEL, HubUnderTest, SettableClock


@pytest.fixture
def hub(hub_settings: HubSettings, postgres_url: str) -> Iterator[HubUnderTest]:
    """A hub on PostgreSQL, where transactions that write run side by side."""
    settings = hub_settings.model_copy(update={"database_url": postgres_url})
    with HubUnderTest(settings, SettableClock()) as hub:
        yield hub


def test_witnesses_do_not_wait_for_each_other_in_a_ring(hub: HubUnderTest) -> None:
    target = hub.resolve(MODEL).json()

    def record(*names: str, witness: Witness) -> list[UsageRecord]:
        return [
            UsageRecord(
                id=name,
                org=target["org"],
                key_id=target["key_id"],
                model=MODEL,
                prices=Prices(prompt=1, cached=1, completion=1),
                created_at=datetime(2030, 1, 1, tzinfo=UTC),
                witness=witness,
                prompt_tokens=10,
            )
            for name in names
        ]

    def tell(records: list[UsageRecord]) -> None:
        with hub.resources.sessions.begin() as session:
            service.record(session, records)

    with ThreadPoolExecutor(2) as threads:
        # Whoever reaches the middle waits there, until this transaction ends.
        with hub.resources.sessions.begin() as session:
            service.record(session, record("middle", witness=Witness.GATEWAY))
            told = [
                threads.submit(tell, record("first", "middle", "z-last", witness=Witness.GATEWAY)),
                threads.submit(tell, record("z-last", "middle", "first", witness=Witness.ENGINE)),
            ]
            _wait_for(hub, waiting=2)
        for each in told:
            each.result()

    assert hub.user.get("/v1/usage").json()["usage"][0]["requests"] == 3
    assert hub.user.get("/v1/balance").json()["balance"] == -30


def _wait_for(hub: HubUnderTest, *, waiting: int) -> None:
    """Wait until so many transactions wait for others."""
    waits = text(
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )

    def count() -> int:
        with hub.resources.readers() as session:
            return int(session.execute(waits).scalar_one())

    looking = Retrying(
        retry=retry_if_not_result(lambda found: found == waiting),
        wait=wait_fixed(0.01),
        stop=stop_after_delay(20),
    )
    looking(count)
