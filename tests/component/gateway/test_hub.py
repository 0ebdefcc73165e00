"""How the gateway asks the hub who is asking."""

import asyncio
from collections.abc import Iterator

import pytest
from fastapi import FastAPI, Response

from freesolo.domain.catalog import SMOLLM2_135M
from freesolo.domain.prices import prices_of
from freesolo.errors import FreesoloError
from freesolo.schemas.deployments import KeyHash, Target
from serving_backend.hub import Hub
from tests.hubs import serving

_TARGET = Target(
    org="acme", key_id="k", model="m", prices=prices_of(SMOLLM2_135M), base_model=SMOLLM2_135M
)
_KEY = KeyHash(key_hash="hash")


class SlowHub:
    """Speaks the hub's protocol; each answer takes a moment, and `status` decides which it is."""

    def __init__(self) -> None:
        self.asked = 0
        self.status = 200
        self.app = FastAPI()
        self.app.add_api_route("/v1/gateway/resolve", self._resolve, methods=["POST"])

    async def _resolve(self) -> Response:
        self.asked += 1
        await asyncio.sleep(0.05)
        body = _TARGET.model_dump_json() if self.status == 200 else "{}"
        return Response(body, status_code=self.status, media_type="application/json")


@pytest.fixture
def slow_hub() -> SlowHub:
    return SlowHub()


@pytest.fixture
def url(slow_hub: SlowHub) -> Iterator[str]:
    with serving(slow_hub.app) as url:
        yield url


def test_many_who_ask_at_once_are_one_question(slow_hub: SlowHub, url: str) -> None:
    async def ask() -> list[Target]:
        hub = Hub(url, "key")
        try:
            return await asyncio.gather(*(hub.resolve(_KEY, "m") for _ in range(20)))
        finally:
            await hub.close()

    assert asyncio.run(ask()) == [_TARGET] * 20
    assert slow_hub.asked == 1


def test_a_refusal_is_told_to_all_who_wait_and_then_forgotten(slow_hub: SlowHub, url: str) -> None:
    async def ask() -> Target:
        hub = Hub(url, "key")
        try:
            slow_hub.status = 503
            refused = await asyncio.gather(
                *(hub.resolve(_KEY, "m") for _ in range(3)), return_exceptions=True
            )
            assert all(isinstance(error, FreesoloError) for error in refused)
            slow_hub.status = 200
            return await hub.resolve(_KEY, "m")
        finally:
            await hub.close()

    assert asyncio.run(ask()) == _TARGET
    assert slow_hub.asked == 2


def test_who_stops_waiting_takes_the_answer_from_nobody(slow_hub: SlowHub, url: str) -> None:
    async def ask() -> Target:
        hub = Hub(url, "key")
        try:
            first, second = (asyncio.ensure_future(hub.resolve(_KEY, "m")) for _ in range(2))
            await asyncio.sleep(0)
            first.cancel()
            return await second
        finally:
            await hub.close()

    assert asyncio.run(ask()) == _TARGET
    assert slow_hub.asked == 1


def test_what_is_asked_in_one_org_is_not_told_in_another(slow_hub: SlowHub, url: str) -> None:
    async def ask() -> None:
        hub = Hub(url, "key")
        try:
            for org in (None, "acme", "other", "acme"):
                await hub.resolve(KeyHash(key_hash="hash", org=org), "m")
        finally:
            await hub.close()

    asyncio.run(ask())
    assert slow_hub.asked == 3


def test_who_keeps_asking_does_not_wait_again(slow_hub: SlowHub, url: str) -> None:
    now = 0.0

    async def ask() -> None:
        nonlocal now
        hub = Hub(url, "key", clock=lambda: now)
        try:
            await hub.resolve(_KEY, "m")
            now = 0.6
            # From memory, sooner than the hub answers, and it is asked for anew beside that.
            await asyncio.wait_for(hub.resolve(_KEY, "m"), 0.01)
            now = 1.2
            await hub.resolve(_KEY, "m")
            assert slow_hub.asked == 2
            now = 2.2
            await hub.resolve(_KEY, "m")
            assert slow_hub.asked == 3
        finally:
            await hub.close()

    asyncio.run(ask())
