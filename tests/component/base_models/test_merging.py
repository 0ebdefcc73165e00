"""Base model and adapter made one: each weight is rounded once."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from freesolo.base_models.merge import merge
from freesolo.base_models.questions import Pair
from freesolo.errors import InvalidAdapter
from tests import tiny_adapter, tiny_model


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    """An adapter, in float32, and its base model, in bfloat16."""
    plain = tiny_model.build(tmp_path / "plain")
    base = AutoModelForCausalLM.from_pretrained(plain, dtype=torch.bfloat16)
    base.save_pretrained(tmp_path / "base")
    AutoTokenizer.from_pretrained(plain).save_pretrained(tmp_path / "base")
    adapter = tiny_adapter.build(tmp_path / "adapter", scale=0.01)
    return Pair(base=tmp_path / "base", adapter=adapter, folder=tmp_path / "merged")


def test_each_weight_is_the_sum_in_float32_rounded_once(pair: Pair) -> None:
    assert merge(pair).dtype == "bfloat16"

    base, merged = (load_file(at / "model.safetensors") for at in (pair.base, pair.folder))
    adapter = load_file(pair.adapter / "adapter_model.safetensors")
    for name, weight in merged.items():
        module = f"base_model.model.{name.removesuffix('.weight')}"
        wanted = base[name]
        if f"{module}.lora_B.weight" in adapter:
            # The scale of this adapter is alpha over rank, which is 2.
            delta = adapter[f"{module}.lora_B.weight"] @ adapter[f"{module}.lora_A.weight"] * 2
            wanted = (wanted.float() + delta).bfloat16()
            assert not torch.equal(wanted, base[name])
        assert torch.equal(weight, wanted), name


def test_an_adapter_with_numbers_that_are_none_is_not_merged(pair: Pair) -> None:
    file = pair.adapter / "adapter_model.safetensors"
    tensors = load_file(file)
    name = "base_model.model.model.layers.1.self_attn.v_proj.lora_A.weight"
    tensors[name][0, 0] = torch.nan
    save_file(tensors, file)
    with pytest.raises(InvalidAdapter, match=r"layers\.1\.self_attn\.v_proj\.weight"):
        merge(pair)
    assert not pair.folder.exists()
