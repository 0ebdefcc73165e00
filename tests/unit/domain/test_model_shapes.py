"""What a model's config tells of its widths, and what is counted from them."""

import pytest

from freesolo.domain.catalog import SMOLLM2_135M
from freesolo.domain.model_shapes import shape_from_config

LLAMA = {
    "hidden_size": 576,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "intermediate_size": 1536,
    "vocab_size": 49_152,
    "tie_word_embeddings": True,
}


def test_the_built_in_model_has_the_shape_that_its_config_tells() -> None:
    assert shape_from_config(LLAMA) == SMOLLM2_135M.shape


def test_the_parts_of_the_built_in_model_add_up_to_its_parameters() -> None:
    shape = SMOLLM2_135M.shape
    assert shape is not None
    # An adapter of rank r has r * (in + out) for a layer of in * out.
    linear = shape.layers * (
        2 * shape.hidden * shape.attention_width
        + 2 * shape.hidden * shape.kv_width
        + 3 * shape.hidden * shape.intermediate
    )
    norms = (2 * shape.layers + 1) * shape.hidden
    assert shape.embedding_parameters + linear + norms == SMOLLM2_135M.parameters


def test_an_adapter_is_counted_as_peft_counts_it() -> None:
    shape = SMOLLM2_135M.shape
    assert shape is not None
    assert shape.adapter_parameters(16) == 4_884_480


def test_a_model_that_sees_keeps_its_decoder_apart() -> None:
    seeing = {"model_type": "seeing", "vision_config": {}, "text_config": LLAMA}
    assert shape_from_config(seeing) == SMOLLM2_135M.shape


def test_what_older_configs_leave_out_follows_from_the_rest() -> None:
    older = {key: value for key, value in LLAMA.items() if key != "num_key_value_heads"}
    shape = shape_from_config(older)
    assert shape is not None
    assert (shape.kv_heads, shape.head_width) == (9, 64)


@pytest.mark.parametrize(
    "config",
    [
        {},
        {**LLAMA, "hidden_size": "wide"},
        {**LLAMA, "num_hidden_layers": 0},
        {**LLAMA, "vocab_size": True},
        {**LLAMA, "num_experts": 128},
        {**LLAMA, "layer_types": [["full_attention"]]},
        {**LLAMA, "layer_types": []},
        {"text_config": {**LLAMA, "num_local_experts": 8}},
    ],
)
def test_a_config_of_another_kind_tells_no_shape(config: dict[str, object]) -> None:
    assert shape_from_config(config) is None
