"""Add an adapter to the weights of its base model: a folder that needs no PEFT to be loaded.

Run as its own process, which answers a `Pair`, so that nobody else has to import torch::

    python -m freesolo.base_models.merge
"""

import shutil

import psutil

from freesolo.base_models.children import reply
from freesolo.base_models.questions import Merged, Pair
from freesolo.errors import InvalidAdapter, OutOfMemory, StorageFull, Unavailable

_SHARD = "5GB"
_GIB = 2**30


def merge(pair: Pair) -> Merged:
    """Write the model that base and adapter are together to `pair.folder`.

    Each weight is added to in float32 and rounded once, to what the base model's weights are. The
    tokenizer, its chat template and the settings of generation are the base model's.
    """
    _require_room(pair)
    try:
        from peft import PeftModel
        from transformers import AutoModelForCausalLM, AutoTokenizer
    except ImportError as missing:
        raise Unavailable(
            f"Merging needs torch, transformers and peft on this machine: {missing}.",
            hint="`pip install 'freesolo[train]'` installs them. Without --merge the adapter alone is "
            "exported, which needs none of them.",
        ) from None
    local = {"local_files_only": True}
    tokenizer = AutoTokenizer.from_pretrained(pair.base, **local)
    base = AutoModelForCausalLM.from_pretrained(pair.base, dtype="auto", **local)
    adapted = PeftModel.from_pretrained(base, pair.adapter)
    # Not `safe_merge`, which rounds what is added before it adds it.
    model = adapted.merge_and_unload()
    for name, weight in model.named_parameters():
        if not weight.isfinite().all():
            raise InvalidAdapter(
                f"The adapter cannot be merged: {name} would hold numbers that are not finite."
            )
    tokenizer.save_pretrained(pair.folder)
    model.save_pretrained(pair.folder, max_shard_size=_SHARD)
    for licence in pair.base.glob("LICENSE*"):
        shutil.copy(licence, pair.folder / licence.name)
    return Merged(
        dtype=str(model.dtype).removeprefix("torch."),
        parameters=model.num_parameters(),
    )


def _require_room(pair: Pair) -> None:
    """Raise before gigabytes are read and written for nothing."""
    size = sum(file.stat().st_size for file in pair.base.glob("*.safetensors"))
    free = psutil.virtual_memory().available
    if size > free:
        raise OutOfMemory(
            f"Merging holds the base model in memory: {size / _GIB:.1f} GiB, and {free / _GIB:.1f} "
            "GiB are free.",
            hint="Merge on a larger machine; without --merge the adapter alone is exported.",
        )
    disk = shutil.disk_usage(pair.folder.parent).free
    if size > disk:
        raise StorageFull(
            f"The merged model takes {size / _GIB:.1f} GiB, and the disk of {pair.folder.parent} "
            f"has {disk / _GIB:.1f} GiB left.",
            hint="Free some space, or name a folder on a larger disk.",
        )


if __name__ == "__main__":
    reply(Pair, merge)
