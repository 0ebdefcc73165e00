"""Adapters on this machine: fetched by digest, checked, kept under the name of their content."""

import asyncio
import shutil
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from freesolo.domain.catalog import BaseModelEntry
from freesolo.domain.packaging import ARTIFACT_LIMITS
from freesolo.errors import InvalidAdapter, StorageFull
from freesolo.package.archive import file_digest, unpack_archive
from freesolo.schemas.base import Artifact
from serving_backend.hub import Hub

_WEIGHTS = "adapter_model.safetensors"
_DOWNLOAD = ".download-"
# Initialisations that leave the base model's weights as they were; the others expect changed ones.
_PLAIN_INITS = frozenset({"gaussian", "eva", "orthogonal"})


def engine_name(adapter: Artifact) -> str:
    """Return the name of an adapter inside an engine.

    It is made of the content's digest: other content never answers under a name that was loaded
    before, and nothing that an engine has cached under it can be stale.
    """
    return f"adapter-{adapter.tree_digest.removeprefix('sha256:')[:40]}"


class AdapterStore:
    """The folder of unpacked adapters. Nothing is removed from it while the gateway runs.

    An engine that evicts an adapter from memory reads its files again in the middle of a batch; if
    they were gone, the engine would die with every request in it.
    """

    def __init__(self, folder: Path, hub: Hub) -> None:
        self._folder = folder
        self._hub = hub
        # Downloads that a killed gateway did not finish.
        for unfinished in folder.glob(f"{_DOWNLOAD}*"):
            shutil.rmtree(unfinished)
        self._checked: set[tuple[str, str]] = set()
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def staged(self, adapter: Artifact, base_model: BaseModelEntry) -> Path:
        """Return the folder of an adapter, after a download if it is not here yet.

        Raise `InvalidAdapter` if `base_model` cannot serve it or the bytes are not what they should be.
        """
        folder = self._folder / adapter.tree_digest.removeprefix("sha256:")
        wanted = (adapter.tree_digest, base_model.id)
        async with self._locks[adapter.tree_digest]:
            if wanted not in self._checked:
                if not folder.is_dir():
                    await self._fetch(adapter, folder)
                await asyncio.to_thread(check_adapter, folder, base_model)
                self._checked.add(wanted)
        return folder

    async def _fetch(self, adapter: Artifact, folder: Path) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=_DOWNLOAD, dir=self._folder) as scratch:
                archive = Path(scratch, "archive")
                await self._hub.download(adapter.archive_digest, archive)
                await asyncio.to_thread(_unpack, archive, folder, adapter)
        except OSError as error:
            raise StorageFull(
                f"The gateway cannot write the adapter to {self._folder}: {error.strerror}.",
                hint="Make room there, or mend its permissions, and try again.",
            ) from None


class _Tensor(BaseModel):
    """One entry in the header of a safetensors file; its metadata has no offsets."""

    data_offsets: tuple[int, int] | None = None


_TENSORS = TypeAdapter(dict[str, _Tensor])


class _AdapterConfig(BaseModel):
    """The parts of PEFT's `adapter_config.json` that decide whether vLLM can serve an adapter."""

    peft_type: Literal["LORA"]
    r: int = Field(ge=1)
    rank_pattern: dict[str, int] | None = None
    base_model_name_or_path: str | None = None
    bias: Literal["none"] = "none"
    use_dora: Literal[False] = False
    lora_bias: Literal[False] = False
    use_qalora: Literal[False] = False
    init_lora_weights: bool | str = True
    modules_to_save: None = None
    layer_replication: None = None
    alora_invocation_tokens: None = None


def check_adapter(folder: Path, base_model: BaseModelEntry) -> None:
    """Raise `InvalidAdapter` unless `folder` holds a LoRA adapter that `base_model` can serve."""
    config = _read_config(folder)
    if config.base_model_name_or_path not in (None, base_model.id):
        raise InvalidAdapter(
            f"The adapter belongs to {config.base_model_name_or_path!r}, not to {base_model.id!r}."
        )
    rank = max([config.r, *(config.rank_pattern or {}).values()])
    if rank > base_model.max_rank:
        raise InvalidAdapter(
            f"The adapter has rank {rank}; {base_model.id} is served with at most {base_model.max_rank}.",
            hint="Train with a smaller `lora_rank`.",
        )
    if isinstance(config.init_lora_weights, str) and config.init_lora_weights not in _PLAIN_INITS:
        raise InvalidAdapter(
            f"The adapter was initialised with {config.init_lora_weights!r}, which changes the base model."
        )
    weights = folder / _WEIGHTS
    if not weights.is_file() or not _has_tensors(weights):
        raise InvalidAdapter(f"The adapter has no tensors in `{_WEIGHTS}`.")


def _read_config(folder: Path) -> _AdapterConfig:
    try:
        return _AdapterConfig.model_validate_json(Path(folder, "adapter_config.json").read_bytes())
    except FileNotFoundError:
        raise InvalidAdapter("The adapter has no `adapter_config.json`.") from None
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise InvalidAdapter(
            f"`adapter_config.json` cannot be served: {key}: {first['msg']}."
        ) from None


def _has_tensors(weights: Path) -> bool:
    """Say whether a safetensors file names a tensor and is as long as its header says."""
    size = weights.stat().st_size
    with weights.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        try:
            header = _TENSORS.validate_json(file.read(min(length, size)))
        except ValidationError:
            return False
    ends = [tensor.data_offsets[1] for tensor in header.values() if tensor.data_offsets]
    return bool(ends) and size == 8 + length + max(ends)


def _unpack(archive: Path, folder: Path, adapter: Artifact) -> None:
    found = file_digest(archive)
    if found != adapter.archive_digest:
        raise InvalidAdapter(
            f"The download is {found}, but {adapter.archive_digest} was asked for.",
            hint="It was damaged on the way; deploy again.",
        )
    unpack_archive(archive, folder, ARTIFACT_LIMITS, expect_tree=adapter.tree_digest)
