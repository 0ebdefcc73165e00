"""The stores of bytes: one contract, for files and for a real S3 server."""

import os
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import httpx
import pytest
from botocore.client import BaseClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from freesolo.errors import BlobNotFound
from hub_server.blobs import BlobStore, FileBlobStore, Part, S3BlobStore, open_blobs
from hub_server.blobs.s3 import connect
from hub_server.settings import HubSettings

CONTENT = os.urandom(100_000)


def digest_of(content: bytes) -> str:
    """Return `sha256:<hex>` of some bytes."""
    return f"sha256:{sha256(content).hexdigest()}"


def write(store: BlobStore, content: bytes) -> Path:
    """Write some bytes where files wait for the store to take them over."""
    file = store.staging / "incoming"
    file.write_bytes(content)
    return file


def put(store: BlobStore, content: bytes) -> str:
    """Store some bytes and return their digest."""
    digest = digest_of(content)
    store.put(digest, write(store, content))
    return digest


@pytest.fixture
def disk(tmp_path: Path) -> FileBlobStore:
    """An empty store of files."""
    store = FileBlobStore(tmp_path / "store")
    store.prepare()
    return store


@pytest.fixture
def bucket(s3_settings: dict[str, object], tmp_path: Path) -> HubSettings:
    """The settings of a hub with an empty bucket."""
    return HubSettings(data_dir=tmp_path).model_copy(update=s3_settings)


@pytest.fixture
def s3(bucket: HubSettings) -> S3BlobStore:
    """An empty store of objects."""
    store = open_blobs(bucket)
    assert isinstance(store, S3BlobStore)
    store.prepare()
    return store


@pytest.fixture(params=["disk", "s3"])
def store(request: pytest.FixtureRequest) -> BlobStore:
    """An empty store of each kind."""
    found: BlobStore = request.getfixturevalue(request.param)
    return found


@pytest.mark.parametrize("size", [0, 1, 100_000, 40 << 20])
def test_what_was_put_is_read_back(store: BlobStore, size: int) -> None:
    content = os.urandom(size)
    digest = put(store, content)
    with store.open(digest) as file:
        assert file.read() == content
    assert store.size(digest) == size


def test_the_store_takes_the_file_over(store: BlobStore) -> None:
    put(store, CONTENT)
    assert list(store.staging.iterdir()) == []


def test_the_same_bytes_again_change_nothing(store: BlobStore) -> None:
    digest = put(store, CONTENT)
    assert put(store, CONTENT) == digest
    assert [(entry.digest, entry.size) for entry in store.blobs()] == [(digest, len(CONTENT))]
    assert list(store.staging.iterdir()) == []


def test_bytes_are_read_from_anywhere(store: BlobStore) -> None:
    with store.open(put(store, CONTENT)) as file:
        file.seek(-10, os.SEEK_END)
        assert file.read() == CONTENT[-10:]
        file.seek(50_000)
        assert file.read(17) == CONTENT[50_000:50_017]
        file.seek(len(CONTENT) + 1)
        assert file.read() == b""


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 100_100), st.integers(0, 5000)), max_size=5))
def test_every_range_is_as_in_memory(store: BlobStore, ranges: list[tuple[int, int]]) -> None:
    digest = digest_of(CONTENT)
    if digest not in {entry.digest for entry in store.blobs()}:
        put(store, CONTENT)
    with store.open(digest) as file:
        for start, length in ranges:
            file.seek(start)
            assert file.read(length) == CONTENT[start : start + length]


@pytest.mark.parametrize("ask", [lambda store, d: store.open(d), lambda store, d: store.size(d)])
def test_what_was_never_put_is_not_found(
    store: BlobStore, ask: Callable[[BlobStore, str], object]
) -> None:
    with pytest.raises(BlobNotFound, match="sha256:"):
        ask(store, digest_of(b"nobody"))


def test_what_was_deleted_is_gone(store: BlobStore) -> None:
    digest = put(store, CONTENT)
    store.delete(digest)
    store.delete(digest)
    with pytest.raises(BlobNotFound):
        store.size(digest)
    assert list(store.blobs()) == []


def test_every_blob_is_listed(store: BlobStore) -> None:
    digests = {put(store, bytes([number])) for number in range(20)}
    assert {entry.digest for entry in store.blobs()} == digests


def test_bytes_that_were_cut_short_are_mended_by_the_next_put(
    store: BlobStore, damage: Callable[[str], None]
) -> None:
    digest = put(store, CONTENT)
    damage(digest)
    put(store, CONTENT)
    with store.open(digest) as file:
        assert file.read() == CONTENT


@pytest.fixture
def damage(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Cut a stored blob short, behind the store's back."""
    store = request.getfixturevalue("store")
    if isinstance(store, FileBlobStore):
        return lambda digest: os.truncate(str(store.local_path(digest)), 10)
    bucket: HubSettings = request.getfixturevalue("bucket")
    client: BaseClient = connect(bucket)

    def cut(digest: str) -> None:
        hexadecimal = digest.removeprefix("sha256:")
        key = f"sha256/{hexadecimal[:2]}/{hexadecimal}"
        client.put_object(Bucket=bucket.s3_bucket, Key=key, Body=CONTENT[:10])

    return cut


def test_pieces_come_back_by_offset(store: BlobStore) -> None:
    for offset, content in ((3, b"def"), (0, b"abc")):
        store.put_part("one", offset, write(store, content), digest=digest_of(content))
    store.put_part("two", 0, write(store, b"xyz"), digest=digest_of(b"xyz"))
    pieces = store.parts("one")
    assert pieces == [Part(0, 3), Part(3, 3)]
    read = b""
    for piece in pieces:
        with store.open_part("one", piece) as file:
            read += file.read()
    assert read == b"abcdef"
    assert store.uploads() == {"one", "two"}
    store.delete_parts("one")
    store.delete_parts("one")
    assert store.parts("one") == []
    assert store.uploads() == {"two"}
    assert list(store.blobs()) == []


def test_a_store_that_works_says_so(store: BlobStore) -> None:
    store.check()
    assert list(store.blobs()) == []


def test_files_that_were_abandoned_are_removed_at_the_start(store: BlobStore) -> None:
    old, young = store.staging / "old", store.staging / "young"
    old.touch()
    young.touch()
    os.utime(old, (time.time() - 7200,) * 2)
    store.prepare()
    assert list(store.staging.iterdir()) == [young]


def test_a_file_that_another_hub_moves_meanwhile_does_not_stop_the_start(store: BlobStore) -> None:
    # As if it went away between being listed and being looked at.
    (store.staging / "moved").symlink_to(store.staging / "gone")
    store.prepare()


def test_an_address_hands_the_bytes_out_to_whoever_has_it(s3: S3BlobStore) -> None:
    link = s3.link(put(s3, CONTENT), filename="agree-1.0.tar.zst")
    assert link is not None
    answer = httpx.get(link, trust_env=False)
    assert answer.content == CONTENT
    assert answer.headers["content-disposition"] == 'attachment; filename="agree-1.0.tar.zst"'
    assert "immutable" in answer.headers["cache-control"]


def test_an_address_for_one_blob_opens_no_other(s3: S3BlobStore) -> None:
    link, other = s3.link(put(s3, CONTENT), filename=None), put(s3, b"other")
    assert link is not None
    wanted = link.replace(digest_of(CONTENT)[7:], other[7:])
    assert httpx.get(wanted, trust_env=False).status_code in (403, 404)


def test_without_redirects_there_is_no_address(bucket: HubSettings) -> None:
    store = open_blobs(bucket.model_copy(update={"s3_redirect": False}))
    assert store.link(digest_of(CONTENT), filename=None) is None


def test_a_real_store_honours_conditions(s3: S3BlobStore) -> None:
    assert s3._honours_conditions


def test_a_store_that_ignores_conditions_is_found_out(bucket: HubSettings, tmp_path: Path) -> None:
    client = connect(bucket)
    put_object = client.put_object
    client.put_object = lambda IfNoneMatch=None, **rest: put_object(**rest)  # noqa: N803
    store = S3BlobStore(client, str(bucket.s3_bucket), staging=tmp_path)
    assert not store._honours_conditions
    digest = put(store, CONTENT)
    assert store.size(digest) == len(CONTENT)
