"""Hosts and engines elsewhere that hang, fail or are full: what that means for the others."""

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from contextlib import AsyncExitStack, ExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest
from fastapi import FastAPI, Response
from fastapi.responses import JSONResponse

from freesolo.domain.catalog import SMOLLM2_135M
from freesolo.errors import EngineUnavailable
from freesolo.schemas.base import Artifact
from freesolo.schemas.replicas import CLAIM_SECONDS, Replica, ReplicaList, ReplicaState
from serving_backend.adapters import AdapterStore
from serving_backend.fleet import Fleet, Wanted
from serving_backend.hub import Hub
from tests.hubs import serving

_BASE = Wanted(SMOLLM2_135M)
_ADAPTERS = [
    Artifact(tree_digest=f"sha256:{number:064}", archive_digest=f"sha256:{number:064}", size=1)
    for number in range(8)
]


class Machine:
    """An engine and its host, as far as a fleet asks them anything."""

    def __init__(self) -> None:
        self.is_healthy = True
        self.has_room = True
        self.claims = 0
        self.claimed = threading.Event()
        self.goes_on = threading.Event()
        self.goes_on.set()
        self.app = FastAPI()
        for path in ("/health", "/healthz"):
            self.app.add_api_route(path, self._health, methods=["GET"])
        self.app.add_api_route("/v1/adapters", self._claim, methods=["POST"])

    async def _health(self) -> Response:
        return Response(status_code=200 if self.is_healthy else 503)

    async def _claim(self) -> Response:
        self.claims += 1
        self.claimed.set()
        await asyncio.to_thread(self.goes_on.wait)
        if self.has_room:
            return Response(status_code=204)
        return JSONResponse(EngineUnavailable("No room.").to_wire(), status_code=503)


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Site:
    """A fleet of machines, and the registry that names them."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.clock = Clock()
        self.machines = [Machine(), Machine()]
        self._replicas = [
            _replica(name, stack.enter_context(serving(machine.app)))
            for name, machine in zip(("one", "two"), self.machines, strict=True)
        ]
        registry = FastAPI()
        registry.add_api_route("/v1/gateway/replicas", self._registry, methods=["GET"])
        self._url = stack.enter_context(serving(registry))
        self._folder = folder

    async def _registry(self) -> ReplicaList:
        return ReplicaList(replicas=self._replicas)

    async def fleet(self, stack: AsyncExitStack) -> Fleet:
        hub = Hub(self._url, "key")
        stack.push_async_callback(hub.close)
        store = AdapterStore(self._folder, hub, room=1, in_use=list)
        fleet = Fleet(hub, own=None, adapters=store, clock=self.clock)
        stack.push_async_callback(fleet.close)
        await fleet.look()
        return fleet


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with ExitStack() as stack:
        yield Site(tmp_path, stack)


def _replica(name: str, url: str) -> Replica:
    return Replica(
        base_model=SMOLLM2_135M.id,
        served_as=SMOLLM2_135M.served_as,
        url=url,
        host_url=url,
        api_key="the-key-of-an-engine",
        state=ReplicaState.READY,
        life=name,
        started_at=datetime.now(UTC),
    )


def _run(story: Coroutine[None, None, None]) -> None:
    asyncio.run(story)


async def _fail(fleet: Fleet, wanted: Wanted = _BASE, *, but: str = "two") -> None:
    async def ask() -> None:
        async with fleet.engaged(wanted, wait_seconds=1, but=[but]):
            await asyncio.sleep(0)
            raise EngineUnavailable("It did not answer.")

    with pytest.raises(EngineUnavailable):
        await ask()


def test_a_host_that_hangs_keeps_no_other_from_being_claimed_again(site: Site) -> None:
    async def story() -> None:
        async with AsyncExitStack() as stack:
            fleet = await site.fleet(stack)
            for adapter in _ADAPTERS:
                wanted = Wanted(SMOLLM2_135M, adapter)
                await stack.enter_async_context(fleet.engaged(wanted, wait_seconds=1))
            hanging, well = site.machines
            before = hanging.claims, well.claims
            assert min(before) > 0
            hanging.goes_on.clear()
            well.claimed.clear()
            site.clock.now += CLAIM_SECONDS / 2

            renewing = asyncio.create_task(fleet.renew_claims())

            assert await asyncio.to_thread(well.claimed.wait, 10)
            assert not renewing.done()
            hanging.goes_on.set()
            await renewing
            assert (hanging.claims, well.claims) == (2 * before[0], 2 * before[1])

    _run(story())


def test_requests_that_fail_together_are_one_failure(site: Site) -> None:
    async def story() -> None:
        async with AsyncExitStack() as stack:
            fleet = await site.fleet(stack)
            site.machines[0].is_healthy = False
            await asyncio.gather(*(_fail(fleet) for _ in range(6)))
            assert not fleet.has_other(SMOLLM2_135M, "two")
            site.clock.now += 1.5
            assert fleet.has_other(SMOLLM2_135M, "two")

    _run(story())


def test_an_engine_that_is_well_is_not_passed_over_for_one_request(site: Site) -> None:
    async def story() -> None:
        async with AsyncExitStack() as stack:
            fleet = await site.fleet(stack)
            await _fail(fleet)
            site.machines[0].has_room = False
            await _fail(fleet, Wanted(SMOLLM2_135M, _ADAPTERS[0]))
            assert site.machines[0].claims == 1
            assert fleet.has_other(SMOLLM2_135M, "two")

    _run(story())
