"""A host of a real engine behind a gateway: `kill -9` of any of the two, or of vLLM, and the ledger then."""

import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from freesolo.schemas.usage import BillingMode
from hub_server.settings import HubSettings
from tests import tiny_model
from tests.hubs import LiveHub, add_credit, live_hub
from tests.killing_gateways import (
    EngineHost,
    Gateway,
    await_answer,
    await_settled,
    callers,
    check_ledger,
    engine_sums,
    ledger_sums,
)
from tests.platforms import wait_for

_MODEL = tiny_model.MODEL_ID
_START_SECONDS = 400
# An engine is long in starting, so most of the ten leave it alive.
_VICTIMS = (*["gateway"] * 4, "engine", *["gateway"] * 4, "host")
_PRICES = "price_input = 10\nprice_output = 20\n"


@pytest.fixture
def hub(hub_settings: HubSettings, tmp_path: Path) -> Iterator[LiveHub]:
    """A hub with the tiny model, whose org has paid enough for everything."""
    catalog = tmp_path / "models.toml"
    catalog.write_text(tiny_model.catalog_toml(tiny_model.build(tmp_path / "tiny")) + _PRICES)
    settings = hub_settings.model_copy(update={"billing": BillingMode.PREPAID, "catalog": catalog})
    with live_hub(settings) as hub:
        add_credit(hub, "1000")
        yield hub


@pytest.fixture
def host(hub: LiveHub, tmp_path: Path) -> Iterator[EngineHost]:
    host = EngineHost(hub, tmp_path / "host", _MODEL)
    host.start()
    try:
        yield host
    finally:
        host.end(signal.SIGTERM)


@pytest.fixture
def gateway(hub: LiveHub, host: EngineHost, tmp_path: Path) -> Iterator[Gateway]:
    """A gateway that has found the host's engine."""
    gateway = Gateway(hub, tmp_path / "gateway", "serving_backend serve", own_engines=False)
    gateway.start()
    try:
        wait_for(lambda: answers(gateway, hub), seconds=_START_SECONDS)
        yield gateway
    finally:
        gateway.end(signal.SIGTERM)


def answers(gateway: Gateway, hub: LiveHub) -> bool:
    client = openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=hub.user_key, max_retries=0)
    try:
        client.completions.create(model=_MODEL, prompt="hello", max_tokens=1)
    except openai.InternalServerError:
        return False
    return True


def test_without_a_kill_the_ledger_is_what_the_engine_counted_and_with_ten_nothing_is_wrong(
    hub: LiveHub, host: EngineHost, gateway: Gateway
) -> None:
    """One test, since the engine is long in starting."""
    for keeper in (gateway, host):
        await_settled(keeper)
    earlier = ledger_sums(hub)
    with callers(gateway, hub.user_key, seed=1, keeper=host, model=_MODEL) as told:
        wait_for(lambda: len(told.answers) >= 40)
    ended = check_ledger(hub, told, gateway, host)
    assert told.failed == 0
    # One more was asked before.
    assert ended["counted"] == 1 + len(told.answers) + told.hung_up
    billed = tuple(now - before for now, before in zip(ledger_sums(hub), earlier, strict=True))
    assert billed == engine_sums(host, told)

    draw = random.Random(1)  # noqa: S311 - the same moments each time
    with callers(gateway, hub.user_key, seed=2, keeper=host, model=_MODEL) as told:
        for victim in _VICTIMS:
            await_answer(told, seconds=_START_SECONDS)
            time.sleep(draw.uniform(0, 0.5))
            kill(victim, host, gateway)
        await_answer(told, seconds=_START_SECONDS)
    check_ledger(hub, told, gateway, host)
    assert len(told.answers) > len(_VICTIMS)


def kill(victim: str, host: EngineHost, gateway: Gateway) -> None:
    if victim == "engine":
        host.kill_engine()
    else:
        {"gateway": gateway, "host": host}[victim].kill()
