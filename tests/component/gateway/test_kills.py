"""`kill -9` of gateways and engines under load: what was answered is billed once, as it was told."""

import random
import signal
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path

import pytest

from freesolo.schemas.usage import BillingMode
from hub_server.settings import HubSettings
from tests.hubs import LiveHub, add_credit, live_hub
from tests.killing_gateways import (
    VICTIMS,
    Gateway,
    callers,
    check_ledger,
    engine_sums,
    kill_busy,
    ledger_sums,
)
from tests.platforms import wait_for

_KILLS = 9


@pytest.fixture
def prepaid_hub(hub_settings: HubSettings) -> Iterator[LiveHub]:
    """A hub whose org has paid enough for everything."""
    settings = hub_settings.model_copy(update={"billing": BillingMode.PREPAID})
    with live_hub(settings) as hub:
        add_credit(hub, "1000")
        yield hub


@pytest.fixture
def gateway(prepaid_hub: LiveHub, tmp_path: Path) -> Iterator[Gateway]:
    """A gateway with a stand-in for vLLM, each a process of its own."""
    gateway = Gateway(prepaid_hub, tmp_path / "gateway", "tests.fake_gateway")
    gateway.start()
    try:
        yield gateway
    finally:
        gateway.end(signal.SIGTERM)


def test_every_answer_is_billed_once_whoever_is_killed_when(
    prepaid_hub: LiveHub, gateway: Gateway
) -> None:
    draw = random.Random(1)  # noqa: S311 - the same moments each time
    with callers(gateway, prepaid_hub.user_key, seed=1) as told:
        for victim in islice(cycle(VICTIMS), _KILLS):
            kill_busy(gateway, victim, told, draw.uniform(0, 0.5))

    ended = check_ledger(prepaid_hub, told, gateway)

    assert len(told.answers) >= _KILLS
    assert ended["counted"] >= len(told.answers)


def test_without_a_kill_the_ledger_is_what_callers_were_told(
    prepaid_hub: LiveHub, gateway: Gateway
) -> None:
    with callers(gateway, prepaid_hub.user_key, seed=2) as told:
        wait_for(lambda: len(told.answers) >= 60)

    ended = check_ledger(prepaid_hub, told, gateway)

    assert told.failed == 0
    assert ended == {"counted": len(told.answers) + told.hung_up}
    assert ledger_sums(prepaid_hub) == engine_sums(gateway, told)
