"""An engine that mixes adapters up never serves."""

import asyncio
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from freesolo.errors import EngineUnavailable
from serving_backend.engine import Engine
from serving_backend.self_test import self_test
from serving_backend.synthetic_adapters import adapted_layers, tensor_shapes, write_adapters
from tests import tiny_model
from tests.fake_engine import FakeEngine, FakeProcess


def started(engine: FakeEngine) -> list[str]:
    """Start an engine, and return what is left in it of its self-test."""

    async def run() -> list[str]:
        serving = Engine(FakeProcess(engine), model="acme/tiny", self_test=self_test)
        try:
            session = await serving.session(wait_seconds=30)
            return await session.resident()
        finally:
            await serving.close()

    return asyncio.run(run())


def test_an_engine_that_keeps_adapters_apart_serves_and_holds_none_of_those_it_was_tried_with() -> (
    None
):
    engine = FakeEngine()
    assert started(engine) == []
    assert len({body["model"] for body in engine.requests}) > 1


@pytest.mark.parametrize(
    ("fault", "reason"),
    [("mixes", "mixes adapters up"), ("ignores adapters", "answers as the base model does")],
)
def test_an_engine_that_does_not_is_refused_with_the_reason(fault: str, reason: str) -> None:
    engine = FakeEngine()
    engine.faults.add(fault)
    with pytest.raises(EngineUnavailable, match=reason):
        started(engine)


def test_synthetic_adapters_fit_the_model_and_differ(tmp_path: Path) -> None:
    model = tiny_model.build(tmp_path / "model")
    shapes = load_file(model / "model.safetensors")
    written = [
        load_file(folder / "adapter_model.safetensors")
        for folder in write_adapters(model, tmp_path, 2)
    ]
    layers = {name.removeprefix("base_model.model.").rpartition(".lora_")[0] for name in written[0]}
    assert layers == {
        f"model.layers.{block}.self_attn.{kind}_proj" for block in range(2) for kind in "qv"
    }
    for layer in layers:
        outputs, inputs = shapes[f"{layer}.weight"].shape
        down = [tensors[f"base_model.model.{layer}.lora_A.weight"] for tensors in written]
        up = [tensors[f"base_model.model.{layer}.lora_B.weight"] for tensors in written]
        assert (down[0].shape, up[0].shape) == ((1, inputs), (outputs, 1))
        assert (down[0] != down[1]).any()
        assert (up[0] != up[1]).any()


def test_only_the_first_blocks_are_adapted_in_the_order_of_their_numbers() -> None:
    shapes = {f"model.layers.{block}.self_attn.v_proj.weight": (4, 8) for block in range(12)}
    layers = adapted_layers({**shapes, "model.embed_tokens.weight": (9, 8)})
    assert list(layers) == [f"model.layers.{block}.self_attn.v_proj" for block in range(8)]
    assert set(layers.values()) == {(8, 4)}


def test_a_model_without_a_layer_to_adapt_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailable, match="no layer"):
        write_adapters(tmp_path, tmp_path, 1)
    assert tensor_shapes(tmp_path) == {}
