"""An adapter on its way from the hub's store to the recipe, whose answers are scripted."""

import json
import shutil
from pathlib import Path

import pytest

from freesolo.errors import FreesoloError, InvalidAdapter
from freesolo.package.archive import Archive
from freesolo.schemas.adapters import PinnedAdapter
from freesolo.schemas.leases import PinnedTeacher, ResumePoint
from tests.factories import make_artifact
from tests.tiny_model import MODEL_ID
from tests.unit.training.leases import DIGEST, make_lease
from tests.unit.training.test_checkpoints import GOOD
from training_backend.job import fetch_teacher, fetch_warm_start


class StoredBlobs:
    """The part of a `LeaseHub` that fetches, with one archive that it gives for every digest."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self.fetched: list[str] = []

    def fetch(self, digest: str, destination: Path) -> None:
        """Write the archive."""
        self.fetched.append(digest)
        shutil.copyfile(self._archive.path, destination)


def make_blobs(folder: Path, **config: object) -> tuple[StoredBlobs, PinnedAdapter]:
    """Return an adapter in the store, and its pin."""
    files = {
        "adapter_config.json": json.dumps(GOOD | config).encode(),
        "adapter_model.safetensors": b"weights",
    }
    archive = make_artifact(folder / "packed", **files)
    pinned = PinnedAdapter(
        run_id="run-bb12cd34ef",
        step=20,
        tree_digest=archive.tree_digest,
        algorithm="sft",
        environment={"ref": "local/agree", "version": "0.1.0", "tree_digest": DIGEST},
        archive_digest=archive.archive_digest,
        size=archive.size,
        rank=4,
    )
    return StoredBlobs(archive), pinned


def test_a_warm_start_is_fetched_by_its_digest_into_a_folder_of_its_own(tmp_path: Path) -> None:
    blobs, pinned = make_blobs(tmp_path)
    lease = make_lease(warm_start=pinned)

    folder = fetch_warm_start(lease, blobs, tmp_path, resume_from=None)

    assert folder is not None
    assert {path.name for path in folder.iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
    }
    assert blobs.fetched == [pinned.archive_digest]


def test_a_resumed_attempt_goes_on_from_its_own_checkpoint(tmp_path: Path) -> None:
    blobs, pinned = make_blobs(tmp_path)
    point = ResumePoint(step=2, adapter=pinned.artifact, state=pinned.artifact)
    lease = make_lease(warm_start=pinned, resume=point)
    own = tmp_path / "checkpoint-2"

    assert fetch_warm_start(lease, blobs, tmp_path, resume_from=own) == own
    assert not blobs.fetched


def test_without_a_warm_start_a_resumed_attempt_has_none_either(tmp_path: Path) -> None:
    blobs, _ = make_blobs(tmp_path)
    assert fetch_warm_start(make_lease(), blobs, tmp_path, resume_from=tmp_path) is None


def test_bytes_that_are_not_those_that_were_pinned_are_refused(tmp_path: Path) -> None:
    blobs, pinned = make_blobs(tmp_path)
    lease = make_lease(warm_start=pinned.model_copy(update={"tree_digest": DIGEST}))

    with pytest.raises(FreesoloError, match=DIGEST):
        fetch_warm_start(lease, blobs, tmp_path, resume_from=None)


def test_an_adapter_of_another_shape_is_refused(tmp_path: Path) -> None:
    blobs, pinned = make_blobs(tmp_path, lora_alpha=64)

    with pytest.raises(InvalidAdapter, match="lora_alpha 64"):
        fetch_warm_start(make_lease(warm_start=pinned), blobs, tmp_path, resume_from=None)


def test_an_adapter_that_teaches_is_fetched_and_a_base_model_needs_none(tmp_path: Path) -> None:
    blobs, pinned = make_blobs(tmp_path)
    model = make_lease().model
    assert model.id == MODEL_ID

    assert fetch_teacher(PinnedTeacher(model=model), blobs, tmp_path) is None
    folder = fetch_teacher(PinnedTeacher(model=model, adapter=pinned), blobs, tmp_path)

    assert folder == tmp_path / "teacher"
