"""Small adapters of random signs for any base model, to try an engine with. They need no torch."""

import json
import math
import random
import re
import sys
from array import array
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from pathlib import Path

from pydantic import BaseModel, TypeAdapter

from freesolo.errors import EngineUnavailable

# Layers that an adapter is on: every model has some of them, and engines adapt them all.
_LAYER = re.compile(
    r"(?P<block>.*\.)(?P<kind>q_proj|v_proj|qkv_proj|c_attn|query_key_value|Wqkv)\.weight"
)
# An adapter on the first blocks is felt in all that follow.
_BLOCKS = 8
_RANK = 1
# What it adds to a layer's output is about as large as what a layer reads, which is normalised.
_STRENGTH = 1.0


class _Tensor(BaseModel):
    shape: tuple[int, ...]


Shapes = Mapping[str, tuple[int, ...]]


def write_adapters(model: Path, folder: Path, count: int) -> list[Path]:
    """Write so many different adapters for the base model in the folder `model`; return theirs.

    Raise `EngineUnavailable` for a model in which no layer is known to take one.
    """
    layers = adapted_layers(tensor_shapes(model))
    if not layers:
        raise EngineUnavailable(
            f"The base model in {model} has no layer by a name that adapters are known to be on.",
            hint="An engine is not served before adapters were tried in it.",
        )
    return [_write(folder / f"synthetic-{seed}", layers, seed=seed) for seed in range(count)]


def tensor_shapes(model: Path) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a model's tensors by their names, from the headers of its files."""
    shapes: dict[str, tuple[int, ...]] = {}
    for file in sorted(model.glob("*.safetensors")):
        with file.open("rb") as opened:
            length = int.from_bytes(opened.read(8), "little")
            header = json.loads(opened.read(length))
        header.pop("__metadata__", None)
        tensors = _HEADER.validate_python(header)
        shapes |= {name: tensor.shape for name, tensor in tensors.items()}
    return shapes


_HEADER = TypeAdapter(dict[str, _Tensor])


def adapted_layers(shapes: Shapes) -> dict[str, tuple[int, int]]:
    """Return the layers of a model's first blocks that take an adapter, with their inputs and outputs."""
    matrices = {name: shape for name, shape in shapes.items() if len(shape) == 2}
    found = [match for name in sorted(matrices, key=_in_order) if (match := _LAYER.fullmatch(name))]
    blocks = [list(block) for _, block in groupby(found, key=lambda match: match["block"])]
    return {
        match[0].removesuffix(".weight"): (matrices[match[0]][1], matrices[match[0]][0])
        for block in blocks[:_BLOCKS]
        for match in block
    }


def _in_order(name: str) -> list[tuple[int, str]]:
    """Sort blocks by their numbers."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in name.split(".")]


def _write(folder: Path, layers: Mapping[str, tuple[int, int]], *, seed: int) -> Path:
    folder.mkdir(parents=True)
    draw = random.Random(seed)  # noqa: S311 - the same adapters each time
    tensors: dict[str, tuple[tuple[int, int], array[float]]] = {}
    for name, (inputs, outputs) in layers.items():
        down, up = 1 / math.sqrt(inputs), _STRENGTH
        tensors[f"base_model.model.{name}.lora_A.weight"] = (
            (_RANK, inputs),
            _signs(draw, inputs, down),
        )
        tensors[f"base_model.model.{name}.lora_B.weight"] = (
            (outputs, _RANK),
            _signs(draw, outputs, up),
        )
    _write_tensors(folder / "adapter_model.safetensors", tensors)
    config = {
        "peft_type": "LORA",
        "r": _RANK,
        "lora_alpha": _RANK,
        "target_modules": sorted({name.rpartition(".")[2] for name in layers}),
        "bias": "none",
    }
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


def _signs(draw: random.Random, count: int, size: float) -> "array[float]":
    bits = draw.getrandbits(count)
    return array("f", (size if bits >> place & 1 else -size for place in range(count)))


def _write_tensors(
    file: Path, tensors: Mapping[str, tuple[tuple[int, int], "array[float]"]]
) -> None:
    """Write float32 tensors in the format safetensors: a header of JSON, then the numbers."""
    ends = list(_ends(numbers for _, numbers in tensors.values()))
    header = {
        name: {"dtype": "F32", "shape": shape, "data_offsets": [end - 4 * len(numbers), end]}
        for (name, (shape, numbers)), end in zip(tensors.items(), ends, strict=True)
    }
    written = json.dumps(header).encode()
    with file.open("wb") as out:
        out.write(len(written).to_bytes(8, "little"))
        out.write(written)
        for _, numbers in tensors.values():
            if sys.byteorder == "big":
                numbers.byteswap()
            numbers.tofile(out)


def _ends(pieces: "Iterable[array[float]]") -> Iterator[int]:
    end = 0
    for piece in pieces:
        end += 4 * len(piece)
        yield end
