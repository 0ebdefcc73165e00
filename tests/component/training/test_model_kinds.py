"""What the trainer computes of models of several kinds is what each computes by itself."""

import math
from pathlib import Path

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    GraniteConfig,
    LlamaConfig,
    MistralConfig,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen3_5TextConfig,
    set_seed,
)

from freesolo.errors import InvalidBaseModel
from training_backend.data import GoldRow
from training_backend.imitation import imitate
from training_backend.lora import Device, load_base_model, with_adapter
from training_backend.packing import Row, make_batches, make_packs
from training_backend.policy import likelihoods
from training_backend.policy_trainer import attends_fully
from training_backend.token_scores import OutputLayer

_SIZES = {
    "vocab_size": 60,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
}
_ON_CPU = Device(gpu=False, tokens_per_pass=64, sampling_room=1 << 20)
FULL = LlamaConfig(**_SIZES)
SLIDING = MistralConfig(**_SIZES, sliding_window=4)
HYBRID = Qwen3_5TextConfig(
    **_SIZES,
    linear_num_value_heads=2,
    linear_num_key_heads=1,
    linear_key_head_dim=16,
    linear_value_head_dim=16,
)
SCALED = GraniteConfig(**_SIZES, logits_scaling=8.0)


def made(config: PreTrainedConfig) -> PreTrainedModel:
    """Return a random model that is sure of something: its layers change what it says."""
    set_seed(1)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    for weight in model.parameters():
        if weight.ndim == 2:
            torch.nn.init.normal_(weight, std=0.3)
    return model.eval()


def rows() -> list[Row]:
    """Return rows of two prompts and several lengths."""
    wanted = [(7, 5), (7, 9), (12, 3)]
    found = []
    for number, (prompt, after) in enumerate(wanted):
        ids = [(3 + 7 * place + 5 * number * (place >= prompt)) % 60 for place in range(21)]
        found.append(
            Row(
                tuple(ids[:prompt]),
                tuple(ids[prompt : prompt + after]),
                (True,) * after,
                (0.0,) * after,
                (math.nan,) * after,
            )
        )
    return found


def plain(model: PreTrainedModel, prompt: tuple[int, ...], after: tuple[int, ...]) -> list[float]:
    """Return what a model itself makes of a row alone."""
    ids = torch.tensor([[*prompt, *after]])
    log_probs = model(input_ids=ids, use_cache=False).logits[0].float().log_softmax(-1)
    places = range(len(prompt) - 1, ids.shape[1] - 1)
    return [float(log_probs[place, ids[0, place + 1]]) for place in places]


@pytest.mark.parametrize("config", [FULL, SLIDING, HYBRID], ids=lambda it: it.model_type)
def test_rows_are_as_likely_as_each_is_alone(config: PreTrainedConfig) -> None:
    model = made(config)
    assert attends_fully(model) == (config is FULL)
    packs = make_packs(rows(), max_tokens=64, share_prompts=attends_fully(model))
    output = OutputLayer.of(model, torch.float32)

    with torch.no_grad():
        for batch in make_batches(packs, max_tokens=64):
            found = likelihoods(model, output, batch, 1.0)[0].tolist()
            of_batch = [row for pack in batch for row in pack.rows]
            wanted = [it for row in of_batch for it in plain(model, row.prompt, row.after)]
            assert found == pytest.approx(wanted, abs=2e-4)


@pytest.mark.parametrize("config", [FULL, SLIDING, HYBRID], ids=lambda it: it.model_type)
def test_gold_rows_cost_what_each_costs_alone(config: PreTrainedConfig) -> None:
    model = made(config)
    output = OutputLayer.of(model, torch.float32)
    gold = [GoldRow(row.prompt, row.after, row.trained) for row in rows()]
    adapted = with_adapter(model, 2, warm_start=None)

    _, _, measured = imitate(adapted, output, gold, tokens=1)

    with torch.no_grad():
        wanted = -sum(it for row in gold for it in plain(model, row.prompt, row.after))
    assert measured.loss == pytest.approx(float(wanted), rel=1e-4)


def test_a_model_whose_logits_are_scaled_is_refused(tmp_path: Path) -> None:
    made(SCALED).save_pretrained(tmp_path)
    with pytest.raises(InvalidBaseModel, match="granite"):
        load_base_model(tmp_path, _ON_CPU)
