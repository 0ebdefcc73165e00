"""Adapters on this machine: fetched by digest, checked, kept under the name of their content."""

import asyncio
import logging
import os
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from freesolo.domain.catalog import BaseModelEntry
from freesolo.domain.fingerprints import FINGERPRINT, Fingerprint
from freesolo.domain.packaging import ARTIFACT_LIMITS
from freesolo.errors import InvalidAdapter, StorageFull
from freesolo.package.archive import file_digest, unpack_archive
from freesolo.schemas.base import Artifact
from serving_backend.hub import Hub

logger = logging.getLogger(__name__)

_WEIGHTS = "adapter_model.safetensors"
_DOWNLOAD = ".download-"
_REMOVED = ".removed-"
# Initialisations that leave the base model's weights as they were; the others expect changed ones.
_PLAIN_INITS = frozenset({"gaussian", "eva", "orthogonal"})


def engine_name(adapter: Artifact) -> str:
    """Return the name of an adapter inside an engine.

    It is made of the content's digest: other content never answers under a name that was loaded
    before, and nothing that an engine has cached under it can be stale.
    """
    return f"adapter-{adapter.tree_digest.removeprefix('sha256:')[:40]}"


class AdapterStore:
    """The folder of unpacked adapters, which keeps to `room` bytes.

    An engine that evicts an adapter from memory reads its files again in the middle of a batch; if
    they were gone, it would die with every request in it. So the folders that are `in_use` stay.
    """

    def __init__(
        self, folder: Path, hub: Hub, *, room: int, in_use: Callable[[], Collection[Path]]
    ) -> None:
        self._folder = folder
        self._hub = hub
        self._room = room
        self._in_use = in_use
        # Downloads, and removals, that a killed gateway did not finish.
        for unfinished in (*folder.glob(f"{_DOWNLOAD}*"), *folder.glob(f"{_REMOVED}*")):
            shutil.rmtree(unfinished)
        self._checked: set[tuple[str, str]] = set()
        self._locks: defaultdict[Path, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._one_tidies = asyncio.Lock()

    async def staged(self, adapter: Artifact, base_model: BaseModelEntry) -> Path:
        """Return the folder of an adapter, after a download if it is not here yet.

        It stays until the caller waits for something else, and as long as it is in use. Raise
        `InvalidAdapter` if `base_model` cannot serve it or the bytes are not what they should be.
        """
        folder = self._folder / adapter.tree_digest.removeprefix("sha256:")
        wanted = (folder.name, base_model.id)
        async with self._locks[folder]:
            if wanted not in self._checked:
                if not folder.is_dir():
                    await self._fetch(adapter, folder)
                await asyncio.to_thread(check_adapter, folder, base_model)
                self._checked.add(wanted)
                await self._tidy()
            # What was used last outlives a gateway in the times of the folders.
            os.utime(folder)
        return folder

    async def _tidy(self) -> None:
        """Remove the adapters that were used least recently until the rest has room."""
        async with self._one_tidies:
            sizes = await asyncio.to_thread(_sizes, self._folder)
            total = sum(size for _, size in sizes)
            for folder, size in sizes:
                if total <= self._room:
                    return
                # Whoever has its lock is about to use it; nobody begins to between here and there.
                if folder not in self._in_use() and not self._locks[folder].locked():
                    total -= size
                    await asyncio.to_thread(shutil.rmtree, self._hide(folder))
            if total > self._room:
                logger.warning("adapters exceed their disk space", extra={"bytes": total})

    def _hide(self, folder: Path) -> Path:
        """Rename a folder so that nobody finds it any more, and return what it is called now."""
        self._checked = {(name, model) for name, model in self._checked if name != folder.name}
        hidden = folder.with_name(f"{_REMOVED}{folder.name}")
        folder.rename(hidden)
        logger.info("adapter removed from disk", extra={"folder": folder.name})
        return hidden

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


def _sizes(folder: Path) -> list[tuple[Path, int]]:
    """Return the adapters of a folder with their sizes, the least recently used first."""
    adapters = [path for path in folder.iterdir() if not path.name.startswith(".")]
    adapters.sort(key=lambda path: path.stat().st_mtime_ns)
    return [
        (path, sum(file.stat().st_size for file in path.rglob("*") if file.is_file()))
        for path in adapters
    ]


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


def read_fingerprint(folder: Path) -> Fingerprint | None:
    """Return what an adapter answered when it was saved, None for one that carries no note of it."""
    try:
        return Fingerprint.model_validate_json(Path(folder, FINGERPRINT).read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise InvalidAdapter(f"`{FINGERPRINT}` cannot be read: {_first(error)}.") from None


def _read_config(folder: Path) -> _AdapterConfig:
    try:
        return _AdapterConfig.model_validate_json(Path(folder, "adapter_config.json").read_bytes())
    except FileNotFoundError:
        raise InvalidAdapter("The adapter has no `adapter_config.json`.") from None
    except ValidationError as error:
        raise InvalidAdapter(f"`adapter_config.json` cannot be served: {_first(error)}.") from None


def _first(error: ValidationError) -> str:
    """Say what was wrong first, and where."""
    first = error.errors()[0]
    return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"


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
