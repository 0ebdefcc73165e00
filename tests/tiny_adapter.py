"""LoRA adapters for the tiny model of `tests.tiny_model`, made of random numbers."""

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
from safetensors.numpy import save_file

from freesolo.domain.fingerprints import FINGERPRINT, Fingerprint
from freesolo.package.archive import Archive, build_archive
from tests.tiny_model import MODEL_ID

FILES = ("adapter_config.json", "adapter_model.safetensors", FINGERPRINT)
_MODULES = {"q_proj": (64, 64), "v_proj": (64, 32)}
_RANK = 4


def build(
    folder: Path,
    *,
    seed: int = 0,
    scale: float = 0.5,
    config: Mapping[str, object] = MappingProxyType({}),
    fingerprint: Fingerprint | None = None,
) -> Path:
    """Write an adapter to `folder`. With `scale` 0 it has no effect; `config` replaces settings."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    tensors = {}
    for layer in range(2):
        for module, (inputs, outputs) in _MODULES.items():
            name = f"base_model.model.model.layers.{layer}.self_attn.{module}"
            tensors[f"{name}.lora_A.weight"] = _matrix(random, _RANK, inputs)
            tensors[f"{name}.lora_B.weight"] = scale * _matrix(random, outputs, _RANK)
    save_file(tensors, folder / "adapter_model.safetensors")
    document = {
        "peft_type": "LORA",
        "base_model_name_or_path": MODEL_ID,
        "r": _RANK,
        "lora_alpha": 2 * _RANK,
        "target_modules": list(_MODULES),
        "bias": "none",
    }
    (folder / "adapter_config.json").write_text(json.dumps({**document, **config}))
    if fingerprint is not None:
        (folder / FINGERPRINT).write_text(fingerprint.model_dump_json())
    return folder


def pack(folder: Path, destination: Path) -> Archive:
    """Pack an adapter as a worker does."""
    return build_archive(folder, [name for name in FILES if (folder / name).exists()], destination)


def _matrix(random: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    return random.standard_normal((rows, columns)).astype(np.float32)
