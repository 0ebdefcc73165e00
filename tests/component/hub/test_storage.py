"""Blobs: kept under what they are, whole or not at all."""

import errno
import os
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from hub_server.blobs import FileBlobStore
from tests.component.hub.harness import HubUnderTest, error_of

CONTENT = b"some bytes" * 1000
DIGEST = f"sha256:{sha256(CONTENT).hexdigest()}"


class FullBlobStore(FileBlobStore):
    """A store whose disk has no room left."""

    def put(self, digest: str, file: Path) -> None:
        """Fail as a full disk does."""
        raise OSError(errno.ENOSPC, "No space left on device")


def test_stored_bytes_come_back(hub: HubUnderTest) -> None:
    stored = hub.worker.put(f"/v1/blobs/{DIGEST}", content=CONTENT)
    assert stored.json() == {"digest": DIGEST, "size": len(CONTENT)}
    assert hub.gateway.get(f"/v1/blobs/{DIGEST}").content == CONTENT


def test_storing_twice_changes_nothing(hub: HubUnderTest) -> None:
    for _ in range(2):
        assert hub.worker.put(f"/v1/blobs/{DIGEST}", content=CONTENT).status_code == 200
    assert list(hub.resources.blobs.staging.iterdir()) == []


def test_bytes_that_are_not_what_they_are_called_are_refused(hub: HubUnderTest) -> None:
    response = hub.worker.put(f"/v1/blobs/{DIGEST}", content=CONTENT[:-1])
    assert (response.status_code, error_of(response)["code"]) == (422, "invalid_input")
    assert hub.worker.get(f"/v1/blobs/{DIGEST}").status_code == 404


def test_a_body_of_many_blocks_arrives_whole(hub: HubUnderTest) -> None:
    content = os.urandom(3 * 2**20 + 17)
    digest = f"sha256:{sha256(content).hexdigest()}"
    assert hub.worker.put(f"/v1/blobs/{digest}", content=content).json()["size"] == len(content)
    assert hub.worker.get(f"/v1/blobs/{digest}").content == content


def test_bytes_that_are_not_stored_are_not_found(hub: HubUnderTest) -> None:
    response = hub.worker.get(f"/v1/blobs/{DIGEST}")
    assert (response.status_code, error_of(response)["code"]) == (404, "blob_not_found")


@pytest.mark.parametrize("digest", ["sha256:abc", "..%2f..%2fhub.db", f"md5:{'0' * 64}"])
def test_only_a_digest_names_a_blob(hub: HubUnderTest, digest: str) -> None:
    assert hub.worker.get(f"/v1/blobs/{digest}").status_code in (404, 422)


def test_a_members_key_cannot_read_blobs(hub: HubUnderTest) -> None:
    hub.worker.put(f"/v1/blobs/{DIGEST}", content=CONTENT)
    assert hub.user.get(f"/v1/blobs/{DIGEST}").status_code == 403


def test_a_full_disk_is_told_as_such(hub: HubUnderTest) -> None:
    full = FullBlobStore(hub.path / "full")
    full.prepare()
    hub.app.state.resources = replace(hub.resources, blobs=full)
    response = hub.worker.put(f"/v1/blobs/{DIGEST}", content=CONTENT)
    assert (response.status_code, error_of(response)["code"]) == (503, "unavailable_storage_full")
    assert list(full.staging.iterdir()) == []
