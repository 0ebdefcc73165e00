"""What the trainer saved, as two packages: the adapter to serve, and the state to resume from."""

import json
import platform
import shutil
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from freesolo.domain.packaging import ARTIFACT_LIMITS
from freesolo.package.archive import Archive, build_archive, unpack_archive
from freesolo.schemas.leases import Lease, ResumePoint

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
PROVENANCE = "provenance.json"
_STATE_FILES = ("optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json")
_PACKAGES = ("freesolo", "peft", "torch", "transformers", "trl")


@dataclass(frozen=True)
class Packed:
    """A checkpoint on disk, ready to be stored."""

    adapter: Archive
    state: Archive


def pack(folder: Path, lease: Lease) -> Packed:
    """Pack the trainer's checkpoint `folder`, writing the archives inside it."""
    adapter = folder / "adapter"
    adapter.mkdir()
    (folder / ADAPTER_WEIGHTS).rename(adapter / ADAPTER_WEIGHTS)
    config = canonical_config((folder / ADAPTER_CONFIG).read_text(), base_model=lease.model.id)
    (adapter / ADAPTER_CONFIG).write_text(config)
    (adapter / PROVENANCE).write_text(provenance(lease))
    return Packed(
        adapter=build_archive(
            adapter, (ADAPTER_CONFIG, ADAPTER_WEIGHTS, PROVENANCE), folder / "adapter.tar.zst"
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


def canonical_config(text: str, *, base_model: str) -> str:
    """Rewrite PEFT's adapter config so that equal adapters have equal bytes.

    PEFT notes the folder that the base model was loaded from, and lists modules in the order of
    this process's hash seed; neither belongs to what the adapter is.
    """
    config = json.loads(text)
    config["base_model_name_or_path"] = base_model
    config["target_modules"] = sorted(config["target_modules"])
    return _json(config)


def provenance(lease: Lease) -> str:
    """Say what made an adapter. The same inputs give the same text: no run, no time, no machine."""
    return _json(
        {
            "environment": {
                "ref": lease.environment.ref,
                "version": lease.environment.version,
                "tree_digest": lease.environment.tree_digest,
            },
            "base_model": {"id": lease.model.id, "revision": lease.model.revision},
            # Where its metrics went did not make it.
            "spec": lease.spec.model_dump(mode="json", exclude={"wandb", "trackio"}),
            "seed": lease.spec.seed,
            "python": platform.python_version(),
            "packages": {name: version(name) for name in _PACKAGES},
        }
    )


def _json(document: object) -> str:
    return json.dumps(document, indent=2, sort_keys=True) + "\n"
