"""The engines that a gateway runs itself, and the room for them."""

import asyncio
from collections.abc import Coroutine
from pathlib import Path

import pytest
from pydantic import SecretStr

from freesolo.domain.catalog import SMOLLM2_135M, BaseModelEntry
from freesolo.errors import EngineUnavailable
from serving_backend.engines import Engines
from serving_backend.settings import ServingSettings
from tests.fake_engine import FakeEngine, FakeProcess

FIRST = SMOLLM2_135M
# Another model, which somebody else calls the same.
SECOND = SMOLLM2_135M.model_copy(update={"revision": "another"})


class Machine:
    """A machine with room for so many engines."""

    def __init__(self, tmp_path: Path, *, room: int) -> None:
        self.processes: dict[str, FakeProcess] = {}
        settings = ServingSettings(
            api_key=SecretStr("unused"),
            data_dir=tmp_path,
            cache_dir=tmp_path / "cache",
            max_engines=room,
        )
        self.engines = Engines(settings, self._process)

    def run(self, work: Coroutine[None, None, None]) -> None:
        """Do some work, then end all engines."""

        async def whole() -> None:
            try:
                await work
            finally:
                await self.engines.close()

        asyncio.run(whole())

    async def life_of(self, entry: BaseModelEntry, *, seconds: float = 20) -> str:
        """Ask the model's engine for nothing; return the name of its life."""
        async with self.engines.lend(entry, wait_seconds=seconds) as session:
            return session.life

    def _process(self, entry: BaseModelEntry, _: ServingSettings) -> FakeProcess:
        self.processes[entry.revision] = FakeProcess(FakeEngine())
        return self.processes[entry.revision]


def test_two_models_of_one_name_have_an_engine_each(tmp_path: Path) -> None:
    machine = Machine(tmp_path, room=2)

    async def ask() -> None:
        lives = [await machine.life_of(each) for each in (FIRST, SECOND, FIRST, SECOND)]
        assert lives[:2] == lives[2:]
        assert len(set(lives)) == 2

    machine.run(ask())


def test_the_engine_that_was_asked_least_recently_makes_room_for_another(tmp_path: Path) -> None:
    machine = Machine(tmp_path, room=1)

    async def ask() -> None:
        first = await machine.life_of(FIRST)
        second = await machine.life_of(SECOND)
        assert not machine.processes[FIRST.revision].is_alive()
        assert await machine.life_of(SECOND) == second
        assert await machine.life_of(FIRST) != first
        assert not machine.processes[SECOND.revision].is_alive()

    machine.run(ask())


def test_an_engine_that_answers_is_not_ended_for_another(tmp_path: Path) -> None:
    machine = Machine(tmp_path, room=1)

    async def ask() -> None:
        async with machine.engines.lend(FIRST, wait_seconds=20) as session:
            with pytest.raises(EngineUnavailable, match="All 1 engines"):
                await machine.life_of(SECOND, seconds=0.05)
            waiting = asyncio.create_task(machine.life_of(SECOND))
            await asyncio.sleep(0)
            # Who has an engine does not wait for room.
            assert await machine.life_of(FIRST) == session.life
        await waiting
        assert not machine.processes[FIRST.revision].is_alive()

    machine.run(ask())
