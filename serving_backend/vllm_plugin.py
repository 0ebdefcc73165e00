"""Correct and fast LoRA arithmetic for vLLM's CPU build.

vLLM 0.32 marks a token that uses no adapter with index -1, and its CPU operations use that index to
look up a weight: the request is answered with the adapter in the last slot. They also copy a whole
adapter's weights for each token. The versions here give -1 a contribution of exactly zero, and do
one matrix product for each adapter in the batch.

vLLM loads `register` through the entry point group `vllm.general_plugins`, in every process of the
engine and possibly more than once. Nothing here is imported outside those processes.
"""

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

# `punica_cpu` holds the functions by name, so it is mended too if it was imported before us. The
# `sgmv_*` functions of a prefill call these through their module and need no version of their own.
_MODULES = (
    "vllm.lora.ops.torch_ops.lora_ops",
    "vllm.lora.ops.torch_ops",
    "vllm.lora.punica_wrapper.punica_cpu",
)


def register() -> None:
    """Replace the LoRA operations of vLLM's CPU platform; do nothing on any other platform."""
    from vllm.platforms import current_platform

    if not current_platform.is_cpu():
        return
    import vllm.lora.ops.torch_ops  # noqa: F401  puts the first two modules in place

    for module in (sys.modules[name] for name in _MODULES if name in sys.modules):
        for operation in (bgmv_shrink, bgmv_expand, bgmv_expand_slice):
            setattr(module, operation.__name__, operation)


def bgmv_shrink(
    inputs: "Tensor",
    weights: "Tensor",
    output: "Tensor",
    adapters: "Tensor",
    scaling: float = 1.0,
) -> None:
    """Write `scaling * A x` of each token's adapter to `output`, tokens by rank."""
    product = per_adapter(inputs.to(output.dtype), weights, adapters)
    output[:, : product.shape[1]] = scaling * product


def bgmv_expand(
    inputs: "Tensor",
    weights: "Tensor",
    output: "Tensor",
    adapters: "Tensor",
    add_inputs: bool = True,
) -> None:
    """Add `B x` of each token's adapter to `output`; without `add_inputs`, write it there."""
    # The model and the adapter may pad the output to different widths.
    width = min(weights.shape[-2], output.shape[1])
    bgmv_expand_slice(inputs, weights, output, adapters, 0, width, add_inputs)


def bgmv_expand_slice(  # noqa: PLR0913
    inputs: "Tensor",
    weights: "Tensor",
    output: "Tensor",
    adapters: "Tensor",
    offset: int,
    width: int,
    add_inputs: bool = True,
) -> None:
    """Do what `bgmv_expand` does, to the columns of `output` from `offset` on."""
    product = per_adapter(inputs.to(output.dtype), weights, adapters)
    columns = output[:, offset : offset + width]
    if add_inputs:
        columns += product[: len(output), :width]
    else:
        columns.copy_(product[: len(output), :width])


def per_adapter(inputs: "Tensor", weights: "Tensor", adapters: "Tensor") -> "Tensor":
    """Multiply each row of `inputs` with the weights of its adapter; -1 gives a row of zeros.

    `inputs` is tokens by features in, `weights` adapters by features out by features in (with an
    axis of one after the adapters, or without), `adapters` an index for each token.
    """
    from torch.nn.functional import linear

    if weights.dim() == 4:
        weights = weights.squeeze(1)
    present = adapters.unique().tolist()
    if len(present) == 1 and present[0] >= 0:
        return linear(inputs, weights[present[0]].to(inputs.dtype))
    product = inputs.new_zeros(len(inputs), weights.shape[1])
    for adapter in present:
        if adapter >= 0:
            rows = (adapters == adapter).nonzero().squeeze(1)
            product[rows] = linear(inputs[rows], weights[adapter].to(inputs.dtype))
    return product
