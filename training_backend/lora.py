"""The base model, and the adapter that is trained on it. Importing this imports torch."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import Linear as LoraLinear
from peft.tuners.lora import LoraLayer
from torch import Tensor
from torch.nn.functional import linear
from transformers import AutoModelForCausalLM, PreTrainedModel

from freesolo.domain.memory import (
    CPU_SAMPLING_ROOM,
    CPU_TOKENS_PER_PASS,
    GPU_SAMPLING_ROOM,
    GPU_TOKENS_PER_PASS,
)
from freesolo.errors import InvalidAdapter, InvalidBaseModel

# By how much, as a share of the largest, logits in bfloat16 may differ between two ways to the same.
_ROUNDING = 0.02


@dataclass(frozen=True)
class Device:
    """What this process trains on.

    `tokens_per_pass` bounds the activations of a forward pass, `sampling_room` the bytes that are held
    of what was read while rollouts are sampled.
    """

    gpu: bool
    tokens_per_pass: int
    sampling_room: int


def find_device() -> Device:
    """Look for an accelerator."""
    if torch.cuda.is_available():
        return Device(
            gpu=True, tokens_per_pass=GPU_TOKENS_PER_PASS, sampling_room=GPU_SAMPLING_ROOM
        )
    return Device(gpu=False, tokens_per_pass=CPU_TOKENS_PER_PASS, sampling_room=CPU_SAMPLING_ROOM)


def load_base_model(folder: Path, device: Device) -> PreTrainedModel:
    """Load the frozen model from a folder in the layout of `transformers`.

    On a CPU the residual stream stays float32 under bfloat16 autocast, with eager attention: the
    fastest of the ways that were measured. Raise `InvalidBaseModel` for one whose answers are not
    what its output layer makes of its last hidden state.
    """
    if device.gpu:
        model = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.bfloat16, attn_implementation="sdpa", local_files_only=True
        ).to("cuda")
        _require_plain_output(model)
        return model
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", local_files_only=True
    )
    _require_plain_output(model)
    for module in model.modules():
        # Autocast would make the same copy of these weights again in each step. The output layer's
        # belong to the embedding as well.
        if isinstance(module, torch.nn.Linear) and module is not model.get_output_embeddings():
            module.to(torch.bfloat16)
    return model


def _require_plain_output(model: PreTrainedModel) -> None:
    """Raise `InvalidBaseModel` where logits are scaled or capped: losses are computed without that."""
    layer = model.get_output_embeddings()
    ids = torch.arange(8, device=layer.weight.device)[None]
    with torch.inference_mode():
        answered = model(input_ids=ids, use_cache=False).logits
        ours = layer(model.base_model(input_ids=ids, use_cache=False).last_hidden_state)
    off = (answered - ours).abs().max() / answered.abs().max().clamp(min=1e-6)
    if off > _ROUNDING:
        raise InvalidBaseModel(
            f"The logits of this {model.config.model_type!r} model are more than a product with its "
            "output layer: they are scaled or capped.",
            hint="Training computes losses from that product. Use another base model.",
        )


def with_adapter(model: PreTrainedModel, rank: int | None, *, warm_start: Path | None) -> PeftModel:
    """Put an adapter on the model to train: a fresh one of this rank, or a copy of `warm_start`.

    Raise `InvalidAdapter` for a copy that would train other layers than a fresh one.
    """
    if warm_start is not None:
        layers = {name for name, module in model.named_modules() if _is_trained(model, module)}
        adapted = PeftModel.from_pretrained(model, warm_start, is_trainable=True)
        _require_layers(adapted, layers)
        return adapted
    if rank is None:
        raise ValueError("A fresh adapter needs a rank")
    return get_peft_model(model, lora_config(rank))


def _is_trained(model: PreTrainedModel, module: torch.nn.Module) -> bool:
    return isinstance(module, torch.nn.Linear) and module is not model.get_output_embeddings()


def _require_layers(adapted: PeftModel, wanted: set[str]) -> None:
    modules = adapted.get_base_model().named_modules()
    found = {name for name, module in modules if isinstance(module, LoraLayer)}
    if odd := sorted(found ^ wanted):
        raise InvalidAdapter(
            f"The adapter to go on from is not on every linear layer: {odd[0]}, for one.",
            hint="Go on from an adapter that a run of this platform made.",
        )


def lora_config(rank: int) -> LoraConfig:
    """Describe an adapter on every linear layer but the output's, with alpha twice the rank."""
    return LoraConfig(
        r=rank,
        lora_alpha=2 * rank,
        lora_dropout=0.0,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )


def layers_of(model: PeftModel) -> list[LoraLinear]:
    """Return the linear layers that have an adapter."""
    return [
        module
        for module in model.modules()
        if isinstance(module, LoraLinear) and isinstance(module.base_layer, torch.nn.Linear)
    ]


@contextmanager
def lean(model: PeftModel, *, fixed: bool = False) -> Iterator[None]:
    """Let a model's layers compute the same with fewer copies, with its adapter or without.

    PEFT widens what a layer reads for the adapter, autocast narrows it again, and what the adapter
    says is scaled and added in passes of their own. Here it is narrowed once, the small matrix is
    scaled, and its product is added as it is made. With `fixed` the adapter does not change
    meanwhile, and is converted at the beginning: no gradient reaches it.
    """
    layers = layers_of(model)
    for layer in layers:
        layer.forward = _lean_forward(layer, fixed=fixed)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


def _lean_forward(layer: LoraLinear, *, fixed: bool) -> Callable[[Tensor], Tensor]:
    base = layer.base_layer
    dtype = base.weight.dtype
    (name,) = layer.active_adapters
    if name not in layer.lora_A:
        # A layer that only a teacher's adapter is on.
        return lambda inputs, *_, **__: linear(inputs.to(dtype), base.weight, base.bias)

    def adapter() -> tuple[Tensor, Tensor]:
        up = layer.lora_B[name].weight * layer.scaling[name]
        return layer.lora_A[name].weight.to(dtype), up.to(dtype).t()

    kept = adapter() if fixed else None

    def forward(inputs: Tensor, *_: object, **__: object) -> Tensor:
        if layer.disable_adapters:
            return linear(inputs.to(dtype), base.weight, base.bias)
        rows = inputs.reshape(-1, inputs.shape[-1]).to(dtype)
        down, up = kept or adapter()
        said = torch.addmm(linear(rows, base.weight, base.bias), linear(rows, down), up)
        return said.view(*inputs.shape[:-1], -1)

    return forward
