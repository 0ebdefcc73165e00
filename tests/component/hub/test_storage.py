"""Blobs: kept under what they are, whole or not at all."""

import errno
import os
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from freesolo.client.transport import Transport, file_chunks
from hub_server.blobs import FileBlobStore
from hub_server.settings import HubSettings
from tests.component.hub.harness import HubUnderTest, SettableClock, error_of
from tests.factories import content_digest
from tests.hubs import live_hub

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


def test_a_download_says_what_it_is(hub: HubUnderTest) -> None:
    hub.worker.put(f"/v1/blobs/{DIGEST}", content=CONTENT)
    headers = hub.gateway.get(f"/v1/blobs/{DIGEST}").headers
    assert headers["etag"] == f'"{DIGEST}"'
    assert headers["content-digest"] == headers["repr-digest"] == content_digest(DIGEST)
    assert headers["cache-control"] == "private, max-age=31536000, immutable"


def test_a_range_of_a_download_carries_the_digest_of_the_whole_only_as_such(
    hub: HubUnderTest,
) -> None:
    hub.worker.put(f"/v1/blobs/{DIGEST}", content=CONTENT)
    part = hub.gateway.get(f"/v1/blobs/{DIGEST}", headers={"Range": "bytes=5-14"})
    assert (part.status_code, part.content) == (206, CONTENT[5:15])
    assert part.headers["content-range"] == f"bytes 5-14/{len(CONTENT)}"
    assert part.headers["repr-digest"] == content_digest(DIGEST)
    assert "content-digest" not in part.headers


def test_who_has_the_bytes_is_not_sent_them_again(hub: HubUnderTest) -> None:
    hub.worker.put(f"/v1/blobs/{DIGEST}", content=CONTENT)
    known = {"If-None-Match": f'"{DIGEST}"'}
    answer = hub.gateway.get(f"/v1/blobs/{DIGEST}", headers=known)
    assert (answer.status_code, answer.content) == (304, b"")


@pytest.mark.parametrize("redirect", [True, False])
def test_bytes_in_s3_come_from_the_store_or_through_the_hub(
    hub_settings: HubSettings, s3_settings: dict[str, object], redirect: bool
) -> None:
    changes = s3_settings | {"s3_redirect": redirect}
    with HubUnderTest(hub_settings.model_copy(update=changes), SettableClock()) as hub:
        hub.worker.put(f"/v1/blobs/{DIGEST}", content=CONTENT)
        answer = hub.gateway.get(f"/v1/blobs/{DIGEST}", follow_redirects=False)
        assert answer.status_code == (302 if redirect else 200)
        assert hub.download(f"/v1/blobs/{DIGEST}", hub.gateway) == CONTENT
        if redirect:
            assert answer.headers["cache-control"] == "no-store"
            assert hub.keys.gateway not in answer.headers["location"]
        missing = hub.gateway.get(f"/v1/blobs/sha256:{'0' * 64}", follow_redirects=False)
        assert missing.status_code == 404


def test_the_client_follows_to_the_store_without_its_key(
    hub_settings: HubSettings, s3_settings: dict[str, object], tmp_path: Path
) -> None:
    with live_hub(hub_settings.model_copy(update=s3_settings)) as hub:
        transport = Transport(hub.url, hub.worker_key)
        source = tmp_path / "source"
        source.write_bytes(CONTENT)
        transport.request("PUT", f"/v1/blobs/{DIGEST}", upload=lambda: file_chunks(source))
        # The store would refuse a request with a second kind of authorization.
        transport.download(f"/v1/blobs/{DIGEST}", tmp_path / "copy")
        transport.close()
    assert (tmp_path / "copy").read_bytes() == CONTENT
