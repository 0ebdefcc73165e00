"""The CPU LoRA operations against the definition, one token at a time."""

import pytest

pytest.importorskip("torch")

import torch

from serving_backend import vllm_plugin

_TOKENS, _ADAPTERS, _RANK, _WIDTH = 6, 3, 4, 10
_BATCHES = {
    "mixed": [0, -1, 2, 2, -1, 1],
    "one adapter": [1] * _TOKENS,
    "no adapter": [-1] * _TOKENS,
    "one adapter beside the base model": [2, 2, -1, -1, 2, -1],
}


@pytest.fixture(params=list(_BATCHES.values()), ids=list(_BATCHES))
def adapters(request: pytest.FixtureRequest) -> torch.Tensor:
    return torch.tensor(request.param)


@pytest.fixture(params=[3, 4], ids=["three axes", "four axes"])
def weights(request: pytest.FixtureRequest) -> torch.Tensor:
    weights = _random(_ADAPTERS, _WIDTH, _RANK)
    return weights.unsqueeze(1) if request.param == 4 else weights


def test_each_row_meets_its_own_adapter(adapters: torch.Tensor, weights: torch.Tensor) -> None:
    inputs = _random(_TOKENS, _RANK)
    product = vllm_plugin.per_adapter(inputs, weights, adapters)
    torch.testing.assert_close(product, _reference(inputs, weights, adapters))


def test_a_row_without_adapter_is_zero_to_the_bit(weights: torch.Tensor) -> None:
    adapters = torch.tensor(_BATCHES["mixed"])
    product = vllm_plugin.per_adapter(_random(_TOKENS, _RANK), weights, adapters)
    assert not product[adapters == -1].any()


def test_shrink_writes_the_scaled_product(adapters: torch.Tensor) -> None:
    inputs, weights = _random(_TOKENS, _WIDTH), _random(_ADAPTERS, _RANK, _WIDTH)
    output = torch.full((_TOKENS, _RANK), 7.0)
    vllm_plugin.bgmv_shrink(inputs, weights, output, adapters, 2.0)
    torch.testing.assert_close(output, 2.0 * _reference(inputs, weights, adapters))


def test_expand_adds_to_what_is_there(adapters: torch.Tensor, weights: torch.Tensor) -> None:
    inputs = _random(_TOKENS, _RANK)
    output = torch.ones(_TOKENS, _WIDTH)
    vllm_plugin.bgmv_expand(inputs, weights, output, adapters)
    torch.testing.assert_close(output, 1 + _reference(inputs, weights, adapters))


def test_expand_leaves_padding_of_the_output_alone(adapters: torch.Tensor) -> None:
    inputs, weights = _random(_TOKENS, _RANK), _random(_ADAPTERS, _WIDTH, _RANK)
    output = torch.ones(_TOKENS, _WIDTH + 2)
    vllm_plugin.bgmv_expand(inputs, weights, output, adapters, add_inputs=False)
    torch.testing.assert_close(output[:, :_WIDTH], _reference(inputs, weights, adapters))
    assert (output[:, _WIDTH:] == 1).all()


def test_expand_slice_touches_only_its_columns(
    adapters: torch.Tensor, weights: torch.Tensor
) -> None:
    inputs = _random(_TOKENS, _RANK)
    output = torch.ones(_TOKENS, _WIDTH + 5)
    vllm_plugin.bgmv_expand_slice(inputs, weights, output, adapters, 3, _WIDTH)
    torch.testing.assert_close(output[:, 3 : 3 + _WIDTH], 1 + _reference(inputs, weights, adapters))
    assert (output[:, :3] == 1).all()
    assert (output[:, 3 + _WIDTH :] == 1).all()


def test_the_precision_is_the_output_s(weights: torch.Tensor) -> None:
    adapters = torch.tensor(_BATCHES["mixed"])
    inputs, output = _random(_TOKENS, _RANK), torch.zeros(_TOKENS, _WIDTH, dtype=torch.bfloat16)
    vllm_plugin.bgmv_expand(inputs, weights.bfloat16(), output, adapters)
    expected = _reference(inputs.bfloat16(), weights.bfloat16(), adapters)
    torch.testing.assert_close(output, expected)


def _reference(inputs: torch.Tensor, weights: torch.Tensor, adapters: torch.Tensor) -> torch.Tensor:
    flat = weights.squeeze(1) if weights.dim() == 4 else weights
    rows = [
        flat[adapter] @ row if adapter >= 0 else torch.zeros(flat.shape[1], dtype=flat.dtype)
        for row, adapter in zip(inputs, adapters.tolist(), strict=True)
    ]
    return torch.stack(rows)


def _random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(len(shape)))
