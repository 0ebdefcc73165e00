"""The base model, and the adapter that is trained on it. Importing this imports torch."""

from dataclasses import dataclass
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from transformers import AutoModelForCausalLM, PreTrainedModel

from freesolo.errors import InvalidAdapter
from freesolo.schemas.provenance import TrainingDevice


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
        return Device(gpu=True, tokens_per_pass=16_384, sampling_room=16 << 30)
    return Device(gpu=False, tokens_per_pass=1024, sampling_room=2 << 30)


def training_device() -> TrainingDevice:
    """Say what this process computes on, as far as its results depend on it."""
    threads = torch.get_num_threads()
    if find_device().gpu:
        return TrainingDevice(kind=torch.cuda.get_device_name(), threads=threads)
    instructions = torch.backends.cpu.get_cpu_capability()
    return TrainingDevice(kind="cpu", instructions=instructions, threads=threads)


def load_base_model(folder: Path, device: Device) -> PreTrainedModel:
    """Load the frozen model from a folder in the layout of `transformers`.

    On a CPU the residual stream stays float32 under bfloat16 autocast, with eager attention: the
    fastest of the ways that were measured.
    """
    if device.gpu:
        return AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.bfloat16, attn_implementation="sdpa", local_files_only=True
        ).to("cuda")
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", local_files_only=True
    )
    for module in model.modules():
        # Autocast would make the same copy of these weights again in each step. The output layer's
        # belong to the embedding as well.
        if isinstance(module, torch.nn.Linear) and module is not model.get_output_embeddings():
            module.to(torch.bfloat16)
    return model


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
