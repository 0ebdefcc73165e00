"""Far more adapters than an engine has room for, of which those in use stay."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from freesolo.errors import EngineUnavailable, InvalidAdapter
from serving_backend.engine import Engine, OwnSession, Room
from serving_backend.residency import Residency
from serving_backend.self_test import self_test
from tests import tiny_adapter
from tests.fake_engine import FakeEngine, FakeProcess

_ROOM = 4


class Host:
    """Holds adapters for a `Residency`, and looks at what is asked of it."""

    def __init__(self) -> None:
        self.held: dict[str, Path] = {}
        self.most = 0
        self.loads: list[str] = []
        self.loading = 0
        self.users: set[str] = set()
        self.may_load = asyncio.Event()
        self.may_load.set()
        self.residency = Residency(_ROOM, load=self.load, remove=self.remove)

    async def load(self, name: str, folder: Path) -> None:
        self.loading += 1
        assert self.loading == 1, "Two loads at once."
        await self.may_load.wait()
        assert folder in self.residency.folders
        await asyncio.sleep(0)
        self.loading -= 1
        if name == "broken":
            raise InvalidAdapter("The engine refused the adapter.")
        self.loads.append(name)
        self.held[name] = folder
        self.most = max(self.most, len(self.held))

    async def remove(self, name: str) -> None:
        assert name not in self.users, "An adapter in use was taken out."
        # While it goes its files may still be read.
        assert self.held[name] in self.residency.folders
        await asyncio.sleep(0)
        del self.held[name]

    @asynccontextmanager
    async def using(self, name: str, *, wait_seconds: float = 5.0) -> AsyncIterator[None]:
        async with self.residency.using(name, Path(name), wait_seconds=wait_seconds):
            assert name in self.held
            yield

    async def use(self, *names: str) -> None:
        for name in names:
            async with self.using(name):
                pass


def test_what_is_there_is_not_loaded_again() -> None:
    async def run() -> None:
        host = Host()
        await host.use("a", "b", "a", "b")
        assert host.loads == ["a", "b"]

    asyncio.run(run())


def test_the_least_recently_used_makes_room() -> None:
    async def run() -> None:
        host = Host()
        await host.use("a", "b", "c", "d", "a", "e")
        assert set(host.held) == {"a", "c", "d", "e"}
        assert host.residency.folders == set(map(Path, host.held))

    asyncio.run(run())


def test_one_in_use_stays_however_long_ago_it_came() -> None:
    async def run() -> None:
        host = Host()
        async with host.using("a"):
            await host.use("b", "c", "d", "e", "f")
            assert set(host.held) == {"a", "d", "e", "f"}

    asyncio.run(run())


def test_without_room_in_time_the_newcomer_is_told_to_come_again_and_the_rest_goes_on() -> None:
    async def run() -> None:
        host = Host()
        async with host.using("a"), host.using("b"), host.using("c"), host.using("d"):
            with pytest.raises(EngineUnavailable, match="holds 4 adapters") as refused:
                async with host.using("e", wait_seconds=0.01):
                    pass
            assert refused.value.retry_after
            async with host.using("a"):
                pass
        await host.use("f")
        # Nobody wanted it any more when there was room.
        assert "e" not in host.loads

    asyncio.run(run())


def test_the_newcomer_comes_as_soon_as_one_is_let_go() -> None:
    async def run() -> None:
        host = Host()
        async with host.using("a"), host.using("b"), host.using("c"):
            async with host.using("d"):
                coming = asyncio.create_task(host.use("e"))
                await asyncio.sleep(0)
            await coming
        assert set(host.held) == {"a", "b", "c", "e"}

    asyncio.run(run())


def test_those_who_wait_for_one_adapter_share_its_load() -> None:
    async def run() -> None:
        host = Host()
        host.may_load.clear()
        users = [asyncio.create_task(host.use("a")) for _ in range(10)]
        await asyncio.sleep(0.01)
        host.may_load.set()
        await asyncio.gather(*users)
        assert host.loads == ["a"]

    asyncio.run(run())


def test_a_load_that_nobody_waits_for_any_more_keeps_its_files_and_its_place() -> None:
    async def run() -> None:
        host = Host()
        host.may_load.clear()
        with pytest.raises(EngineUnavailable):
            async with host.using("a", wait_seconds=0.01):
                pass
        host.may_load.set()
        await host.use("b")
        assert set(host.held) == {"a", "b"}
        assert host.residency.folders == {Path("a"), Path("b")}

    asyncio.run(run())


def test_a_load_that_fails_is_told_to_all_who_wait_and_takes_no_room() -> None:
    async def run() -> None:
        host = Host()
        users = [host.use("broken") for _ in range(3)]
        results = await asyncio.gather(*users, return_exceptions=True)
        assert [type(result) for result in results] == [InvalidAdapter] * 3
        assert host.residency.folders == set()
        await host.use("a", "b", "c", "d")
        assert host.loads == ["a", "b", "c", "d"]

    asyncio.run(run())


def test_two_hundred_adapters_take_turns_in_an_engine_with_room_for_four(tmp_path: Path) -> None:
    """Through a session, over HTTP, forty callers at a time."""
    engine = FakeEngine()
    process = FakeProcess(engine, room=Room(in_batch=2, in_memory=_ROOM))
    folders = {
        f"adapter-{number}": tiny_adapter.build(tmp_path / f"adapter-{number}", seed=number)
        for number in range(200)
    }
    most = 0

    async def call(session: OwnSession, name: str, callers: asyncio.Semaphore) -> str:
        nonlocal most
        async with callers, session.using(name, folders[name], wait_seconds=60):
            body = {"model": name, "messages": [{"role": "user", "content": "hi"}]}
            answer = await session.complete(body, request_id=name)
            most = max(most, len(engine.adapters))
            return str(answer["model"])

    async def run() -> None:
        serving = Engine(process, model="acme/tiny", self_test=self_test)
        session = await serving.session(wait_seconds=30)
        # Nothing is left of the self-test.
        assert await session.resident() == []
        callers = asyncio.Semaphore(40)
        names = [name for _ in range(2) for name in folders]
        answers = await asyncio.gather(*(call(session, name, callers) for name in names))
        assert answers == names
        assert len(await session.resident()) == _ROOM
        assert {engine.adapters[name] for name in await session.resident()} == session.folders
        await serving.close()

    asyncio.run(run())
    assert most == _ROOM
