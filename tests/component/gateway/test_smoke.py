"""What an adapter must show before its alias moves, and what is refused."""

import asyncio
from pathlib import Path

import pytest

from freesolo.domain.fingerprints import FINGERPRINT, AnswerPrint, Fingerprint, Place
from freesolo.domain.lifecycle import DeploymentState
from freesolo.errors import EngineUnavailable, FreesoloError, InvalidAdapter
from serving_backend.adapters import read_fingerprint
from serving_backend.engine import Session
from serving_backend.smoke import Trained, has_form, smoke
from tests import tiny_adapter
from tests.component.gateway.conftest import Platform
from tests.fake_engine import TOKEN, FakeEngine, FakeProcess

_NAME = "adapter-0"


def noted(logprob: float, *, question: str = "Who are you?") -> Fingerprint:
    """A fingerprint as the stand-in's numbers would give it."""
    place = Place(said=TOKEN, likeliest={TOKEN: logprob})
    answer = AnswerPrint(question=question, places=(place, place, place))
    return Fingerprint(thinking=False, answers=(answer,))


@pytest.fixture
def engine(tmp_path: Path) -> FakeEngine:
    """An engine that two adapters are loaded into, of which the first is tried."""
    engine = FakeEngine()
    engine.adapters[_NAME] = tiny_adapter.build(tmp_path / _NAME)
    engine.adapters["adapter-1"] = tiny_adapter.build(tmp_path / "adapter-1", seed=1)
    return engine


def tried(engine: FakeEngine, trained: Trained) -> FreesoloError | None:
    """Try the adapter out and return why it was refused, None if it was not."""

    async def run() -> None:
        process = FakeProcess(engine)
        adapters = dict(engine.adapters)
        endpoint = await process.start()
        engine.adapters.update(adapters)
        try:
            async with Session(endpoint) as session:
                await smoke(session, _NAME, trained)
        finally:
            await process.stop()

    try:
        asyncio.run(run())
    except FreesoloError as error:
        return error
    return None


def test_an_adapter_that_answers_as_when_it_was_trained_passes(engine: FakeEngine) -> None:
    logprob = engine.logprob(_NAME)
    assert tried(engine, Trained(fingerprint=noted(logprob + 0.05))) is None
    assert {body["messages"][0]["content"] for body in engine.requests} == {"Who are you?"}


def test_an_adapter_that_answers_otherwise_is_refused_with_the_distance(engine: FakeEngine) -> None:
    logprob = engine.logprob(_NAME)
    error = tried(engine, Trained(fingerprint=noted(logprob + 1.5)))
    assert isinstance(error, InvalidAdapter)
    assert "1.50 nats" in error.message


def test_an_adapter_without_a_fingerprint_is_tried_without_one(engine: FakeEngine) -> None:
    assert tried(engine, Trained()) is None


def test_it_is_asked_as_it_was_trained_to_think(engine: FakeEngine) -> None:
    assert tried(engine, Trained(thinking=True)) is None
    assert all(
        body["chat_template_kwargs"] == {"enable_thinking": True} for body in engine.requests
    )


def test_an_engine_that_mixes_adapters_up_is_found_out(engine: FakeEngine) -> None:
    engine.faults.add("mixes")
    error = tried(engine, Trained())
    assert isinstance(error, EngineUnavailable)
    assert "mixes adapters up" in error.message


def test_an_engine_whose_streams_come_from_the_base_model_is_found_out(engine: FakeEngine) -> None:
    engine.faults.add("streams base")
    error = tried(engine, Trained())
    assert isinstance(error, InvalidAdapter)
    assert "Streamed" in error.message


def test_an_answer_in_the_adapter_s_form_must_parse(engine: FakeEngine) -> None:
    assert tried(engine, Trained(structured_outputs={"json": {"type": "object"}})) is None
    assert engine.requests[-1]["structured_outputs"] == {"json": {"type": "object"}}
    engine.faults.add("no form")
    error = tried(engine, Trained(structured_outputs={"json": {"type": "object"}}))
    assert isinstance(error, InvalidAdapter)
    assert "structured_outputs" in error.message


@pytest.mark.parametrize(
    ("form", "good", "bad"),
    [
        ({"json": {}}, '{"a": [1]}', '{"a": [1'),
        ({"json_object": True}, "{}", "sure: {}"),
        ({"choice": ["yes", "no"]}, "yes", "yes."),
        ({"regex": "a+"}, "aaa", ""),
        ({"json": {}}, "[" * 10 + "]" * 10, "[" * 100_000),
    ],
)
def test_whether_an_answer_has_its_form(form: dict[str, object], good: str, bad: str) -> None:
    assert has_form(good, form)  # type: ignore[arg-type]
    assert not has_form(bad, form)  # type: ignore[arg-type]


def test_a_file_that_is_no_fingerprint_is_refused(tmp_path: Path) -> None:
    (tmp_path / FINGERPRINT).write_text('{"thinking": false, "answers": []}')
    with pytest.raises(InvalidAdapter, match="answers"):
        read_fingerprint(tmp_path)


def test_a_deployment_whose_adapter_answers_otherwise_fails(platform: Platform) -> None:
    archive = platform.adapter("adapter", fingerprint=noted(0.0))
    run_id = platform.saved_run()
    platform.complete(run_id, archive)
    with platform.client() as hub:
        deployment = platform.settled(hub.deploy(run_id).id)
    assert deployment.state is DeploymentState.FAILED
    assert deployment.error is not None
    assert deployment.error.code == "invalid_adapter"
    assert "nats off" in deployment.error.message
