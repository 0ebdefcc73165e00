"""What the trainer saved, as two packages: the adapter to serve, and the state to resume from."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from freesolo.domain.fingerprints import FINGERPRINT, Fingerprint
from freesolo.domain.packaging import ARTIFACT_LIMITS
from freesolo.errors import InvalidAdapter
from freesolo.package.archive import Archive, build_archive, unpack_archive
from freesolo.schemas.adapters import PinnedAdapter
from freesolo.schemas.leases import ResumePoint

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
PROVENANCE = "provenance.json"
_STATE_FILES = ("optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json")


@dataclass(frozen=True)
class Packed:
    """A checkpoint on disk, ready to be stored."""

    adapter: Archive
    state: Archive


def write_fingerprint(folder: Path, fingerprint: Fingerprint) -> None:
    """Put an adapter's fingerprint into the trainer's checkpoint `folder`."""
    (folder / FINGERPRINT).write_text(_json(fingerprint.model_dump(mode="json")))


def pack(folder: Path, *, base_model: str, provenance: str) -> Packed:
    """Pack the trainer's checkpoint `folder`, writing the archives inside it."""
    adapter = folder / "adapter"
    adapter.mkdir()
    for name in (ADAPTER_WEIGHTS, FINGERPRINT):
        (folder / name).rename(adapter / name)
    config = canonical_config((folder / ADAPTER_CONFIG).read_text(), base_model=base_model)
    (adapter / ADAPTER_CONFIG).write_text(config)
    (adapter / PROVENANCE).write_text(provenance)
    return Packed(
        adapter=build_archive(
            adapter,
            (ADAPTER_CONFIG, ADAPTER_WEIGHTS, FINGERPRINT, PROVENANCE),
            folder / "adapter.tar.zst",
        ),
        state=build_archive(folder, _STATE_FILES, folder / "state.tar.zst"),
    )


def restore(point: ResumePoint, adapter: Path, state: Path, *, folder: Path) -> Path:
    """Put the trainer's checkpoint folder together again from the two archives of `point`."""
    unpack_archive(state, folder, ARTIFACT_LIMITS, expect_tree=point.state.tree_digest)
    unpacked = folder / "adapter"
    unpack_archive(adapter, unpacked, ARTIFACT_LIMITS, expect_tree=point.adapter.tree_digest)
    for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS):
        (unpacked / name).rename(folder / name)
    shutil.rmtree(unpacked)
    return folder


def unpack_adapter(pinned: PinnedAdapter, archive: Path, *, base_model: str, folder: Path) -> Path:
    """Unpack an adapter into a new folder and return that, once all is as it was pinned.

    Raise `InvalidAdapter` for one that is of another base model or shape than it is said to be.
    """
    unpack_archive(archive, folder, ARTIFACT_LIMITS, expect_tree=pinned.tree_digest)
    check_adapter(
        (folder / ADAPTER_CONFIG).read_text(),
        name=f"{pinned.run_id}/step-{pinned.step}",
        base_model=base_model,
        rank=pinned.rank,
    )
    return folder


def check_adapter(text: str, *, name: str, base_model: str, rank: int) -> None:
    """Raise `InvalidAdapter` unless an adapter's config is as a run of ours would have written it."""
    config = json.loads(text)
    wanted = {
        "peft_type": "LORA",
        "base_model_name_or_path": base_model,
        "r": rank,
        "lora_alpha": 2 * rank,
        "rank_pattern": {},
        "alpha_pattern": {},
        "modules_to_save": None,
    }
    for key, value in wanted.items():
        if (found := config.get(key)) != value:
            raise InvalidAdapter(
                f"The adapter {name} has {key} {found!r} instead of {value!r}.",
                hint="Go on from an adapter that a run of this platform made.",
            )


def canonical_config(text: str, *, base_model: str) -> str:
    """Rewrite PEFT's adapter config so that equal adapters have equal bytes.

    PEFT notes the folder that the base model was loaded from, and lists modules in the order of
    this process's hash seed; neither belongs to what the adapter is.
    """
    config = json.loads(text)
    config["base_model_name_or_path"] = base_model
    config["target_modules"] = sorted(config["target_modules"])
    return _json(config)


def _json(document: object) -> str:
    return json.dumps(document, indent=2, sort_keys=True) + "\n"
