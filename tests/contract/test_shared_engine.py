"""Many adapters in one vLLM: each answers as itself, whoever else is there, comes or goes."""

import asyncio
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from freesolo import engines, processes
from freesolo.domain.fingerprints import Fingerprint, distance
from freesolo.engines import Endpoint
from freesolo.errors import EngineUnavailable, InvalidAdapter
from serving_backend import engine_journal
from serving_backend.engine import BASE_MODEL, Engine, OwnSession, Room
from serving_backend.self_test import self_test
from serving_backend.settings import ServingSettings
from serving_backend.smoke import Trained, smoke
from serving_backend.trials import ROUNDING, Trial, hear
from serving_backend.vllm_process import VllmProcess, command_line
from tests import tiny_adapter, tiny_model

_ROOM = Room(in_batch=2, in_memory=4)
_START_SECONDS = 400.0
_ADAPTERS = 10
_QUESTION = "hello"


@dataclass
class Running:
    """A running vLLM, its base model's folder, and adapters to load into it by their names."""

    process: VllmProcess
    endpoint: Endpoint
    model: Path
    adapters: dict[str, Path]

    def run(self, scenario: Callable[[OwnSession], Awaitable[None]]) -> None:
        """Play a scenario with a session, after which the engine is empty again."""

        async def play() -> None:
            async with OwnSession(self.endpoint, _ROOM) as session:
                await scenario(session)
                await session.remove_idle()
                assert await session.resident() == []

        asyncio.run(play())


class StockProcess(VllmProcess):
    """A vLLM whose arithmetic is its own."""

    def _spawn(self, model: Path, endpoint: Endpoint) -> "subprocess.Popen[bytes]":
        folder = self.settings.data_dir
        return processes.start(
            command_line(
                self.entry, self.settings, model, endpoint=endpoint, room=self.room, on_gpu=False
            ),
            env=engines.environment(endpoint, kv_cache_gib=1)
            | {
                "VLLM_PLUGINS": "freesolo_residency",
                engine_journal.FOLDER_VARIABLE: str(folder / "journal"),
            },
            log=folder / "logs" / "stock.log",
            record=self._record,
        )


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("shared")
    model = tiny_model.build(folder / "model")
    process = VllmProcess(tiny_model.catalog_entry(model), _settings(folder), room=_ROOM)

    async def start() -> Endpoint:
        endpoint = await process.start()
        async with asyncio.timeout(_START_SECONDS), OwnSession(endpoint, _ROOM) as session:
            while not await session.is_healthy():
                assert process.is_alive(), "The engine stopped while it started."
                await asyncio.sleep(0.2)
        return endpoint

    try:
        adapters = {
            f"adapter-{seed}": tiny_adapter.build(folder / f"adapter-{seed}", seed=seed)
            for seed in range(_ADAPTERS)
        }
        yield Running(process, asyncio.run(start()), model, adapters)
    finally:
        asyncio.run(process.stop())


def test_an_engine_without_our_arithmetic_is_refused(tmp_path: Path) -> None:
    model = tiny_model.build(tmp_path / "model")
    process = StockProcess(tiny_model.catalog_entry(model), _settings(tmp_path), room=_ROOM)
    stock = Engine(process, model=tiny_model.MODEL_ID, self_test=self_test)

    async def start() -> None:
        try:
            await stock.session(wait_seconds=_START_SECONDS)
        finally:
            await stock.close()

    with pytest.raises(EngineUnavailable, match="mixes adapters up"):
        asyncio.run(start())


def test_an_engine_with_it_passes_and_holds_nothing_of_the_test(engine: Running) -> None:
    async def scenario(session: OwnSession) -> None:
        await self_test(engine.process, session)
        assert await session.resident() == []

    engine.run(scenario)


def test_an_adapter_is_known_again_by_its_fingerprint_and_another_is_not(engine: Running) -> None:
    name, other = list(engine.adapters)[:2]
    own = Trained(thinking=False, fingerprint=_fingerprint(engine, name))
    others = replace(own, fingerprint=_fingerprint(engine, other))

    async def scenario(session: OwnSession) -> None:
        async with session.using(name, engine.adapters[name]):
            await smoke(session, name, own)
            with pytest.raises(InvalidAdapter, match="nats off"):
                await smoke(session, name, others)

    engine.run(scenario)


def test_an_answer_in_an_adapter_s_form_parses(engine: Running) -> None:
    name = next(iter(engine.adapters))
    trained = Trained(thinking=False, structured_outputs={"choice": ["yes", "no"]})

    async def scenario(session: OwnSession) -> None:
        async with session.using(name, engine.adapters[name]):
            await smoke(session, name, trained)

    engine.run(scenario)


def test_more_adapters_than_there_is_room_for_take_turns_beside_a_stream(engine: Running) -> None:
    streaming, *rest = engine.adapters

    async def scenario(session: OwnSession) -> None:
        heard = {}
        for name in rest:
            async with session.using(name, engine.adapters[name]):
                heard[name] = await hear(session, Trial(name, _QUESTION))
            assert len(await session.resident()) <= _ROOM.in_memory
        assert len({str(said) for said in heard.values()}) == len(rest)

        async def call(name: str) -> None:
            async with session.using(name, engine.adapters[name], wait_seconds=120):
                again = await hear(session, Trial(name, _QUESTION))
                assert distance(heard[name], again) < ROUNDING

        async with session.using(streaming, engine.adapters[streaming]):
            alone = await _text(session, streaming)
            stream = asyncio.create_task(_text(session, streaming))
            for _ in range(2):
                await asyncio.gather(*map(call, rest))
                held = await session.resident()
                assert len(held) <= _ROOM.in_memory
                assert streaming in held
            assert await stream == alone

    engine.run(scenario)


def _settings(folder: Path) -> ServingSettings:
    return ServingSettings(api_key="unused", data_dir=folder, cache_dir=folder / "cache")


def _fingerprint(engine: Running, name: str) -> Fingerprint:
    """Return what the trainer would have noted of an adapter."""
    from peft import PeftModel

    from training_backend.fingerprints import Questions, fingerprint
    from training_backend.lora import find_device, load_base_model
    from training_backend.recipes.model_chat import chat_format

    base = load_base_model(engine.model, find_device())
    adapted = PeftModel.from_pretrained(base, engine.adapters[name])
    return fingerprint(adapted, Questions.of(chat_format(engine.model, thinking=False)))


async def _text(session: OwnSession, name: str) -> str:
    """Return what a long stream says."""
    import json

    body = Trial(name, _QUESTION).body(
        300, stream=True, stream_options={"include_usage": True}, ignore_eos=True
    )
    said = ""
    async with session.stream(body, request_id=f"long-{id(body)}") as events:
        async for data in events:
            if data != "[DONE]":
                chunk = json.loads(data)
                assert chunk["model"] == name
                said += "".join(choice["delta"].get("content") or "" for choice in chunk["choices"])
    return said


def test_the_base_model_answers_alike_however_many_adapters_came_and_went(
    engine: Running,
) -> None:
    async def scenario(session: OwnSession) -> None:
        before = await hear(session, Trial(BASE_MODEL, _QUESTION))
        for name, folder in engine.adapters.items():
            async with session.using(name, folder):
                pass
        assert distance(before, await hear(session, Trial(BASE_MODEL, _QUESTION))) < ROUNDING

    engine.run(scenario)
