"""What the hub's owner does: check, collect garbage, back up, restore."""

import os
import shutil
import threading
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
from sqlalchemy import select, text

from freesolo.errors import BlobNotFound, HubNotEmpty, InvalidInput
from hub_server.blobs import BlobStore, FileBlobStore, open_blobs
from hub_server.encryption import Vault
from hub_server.maintenance.backup import back_up, restore
from hub_server.maintenance.checking import Health, check
from hub_server.maintenance.collecting import Garbage, collect, find_garbage
from hub_server.models import ProjectSecret
from hub_server.settings import HubSettings
from hub_server.signing import Signer
from hub_server.storage import service as storage
from tests.component.hub.harness import HubUnderTest, SettableClock
from tests.postgres import create_database
from tests.s3 import settings_of_new_bucket

DAY = 86_400


def store(hub: HubUnderTest, content: bytes) -> str:
    """Store some bytes that nothing refers to; return their digest."""
    digest = f"sha256:{sha256(content).hexdigest()}"
    keep(hub, digest, content, hub.resources.blobs)
    return digest


def keep(hub: HubUnderTest, digest: str, content: bytes, blobs: BlobStore) -> None:
    """Store some bytes as a publish does."""
    file = blobs.staging / f"incoming-{threading.get_ident()}"
    file.write_bytes(content)
    storage.keep(hub.resources.sessions, blobs, {digest: file}, now=hub.clock())


def stored(hub: HubUnderTest) -> set[str]:
    """Return the digests of all blobs."""
    return {entry.digest for entry in hub.resources.blobs.blobs()}


def collected(hub: HubUnderTest) -> Garbage:
    """Collect garbage now."""
    return collect(hub.resources.sessions, hub.resources.blobs, now=hub.clock())


def checked(hub: HubUnderTest) -> Health:
    """Check everything."""
    with hub.resources.readers() as session:
        keys = hub.resources.signer.public_keys
        return check(session, hub.resources.blobs, keys, vault=hub.resources.vault)


def problems(hub: HubUnderTest) -> list[tuple[str, str]]:
    """Return what a check finds."""
    return [(finding.what, finding.problem) for finding in checked(hub).findings]


def test_what_nothing_needs_goes_and_all_else_stays(stored_hub: HubUnderTest) -> None:
    stored_hub.publish()
    stored_hub.train()
    kept = stored(stored_hub)
    orphan = store(stored_hub, b"orphan")
    stored_hub.clock.advance(DAY + 1)
    young = store(stored_hub, b"young")
    assert collected(stored_hub) == Garbage((orphan,), 6, ())
    assert stored(stored_hub) == kept | {young}
    assert checked(stored_hub).findings == ()


def test_a_dry_run_removes_nothing(hub: HubUnderTest) -> None:
    orphan = store(hub, b"orphan")
    hub.clock.advance(DAY + 1)
    with hub.resources.readers() as session:
        assert find_garbage(session, hub.resources.blobs, now=hub.clock()).blobs == (orphan,)
    assert stored(hub) == {orphan}


def test_bytes_without_a_row_are_given_a_day(hub: HubUnderTest) -> None:
    orphan = store(hub, b"orphan")
    with hub.resources.sessions.begin() as session:
        session.execute(text("DELETE FROM blobs"))
    assert collected(hub).blobs == ()
    hub.clock.advance(DAY + 1)
    assert collected(hub).blobs == (orphan,)


def test_what_an_open_upload_will_be_is_not_removed(hub: HubUnderTest) -> None:
    archive = hub.pack()
    digest = store(hub, archive.path.read_bytes())
    hub.clock.advance(DAY + 1)
    body = {"org": "local", "name": "agree", "version": "0.1.0", "size": archive.size}
    digests = {"archive_digest": archive.archive_digest, "tree_digest": archive.tree_digest}
    assert hub.user.post("/v1/uploads", json=body | digests).status_code == 201
    assert collected(hub).blobs == ()
    assert stored(hub) == {digest}


def test_a_checkpoint_of_old_bytes_makes_them_stay(hub: HubUnderTest) -> None:
    hub.publish()
    hub.submit()
    lease = hub.claim()
    hub.save(lease, 1)
    hub.clock.advance(DAY + 1)
    kept = stored(hub)
    assert collected(hub).blobs == ()
    assert stored(hub) == kept


def test_bytes_that_are_asked_for_between_the_look_and_the_removal_stay(
    stored_hub: HubUnderTest,
) -> None:
    resources = stored_hub.resources
    digest = store(stored_hub, b"bytes")
    stored_hub.clock.advance(DAY + 1)
    with resources.readers() as session:
        assert list(storage.unneeded(session, now=stored_hub.clock())) == [digest]
    store(stored_hub, b"bytes")
    with resources.sessions.begin() as session:
        now = stored_hub.clock()
        assert storage.remove(session, resources.blobs, digest, now=now) is None
    assert stored(stored_hub) == {digest}


class RacingStore(FileBlobStore):
    """A store in which somebody wants the bytes at the very moment that they are removed."""

    def __init__(self, root: Path, rival: Callable[[], None]) -> None:
        super().__init__(root)
        self.thread = threading.Thread(target=rival)

    def delete(self, digest: str) -> None:
        """Remove the blob while the rival waits for its row."""
        self.thread.start()
        self.thread.join(0.3)
        assert self.thread.is_alive(), "the rival did not wait for the row"
        super().delete(digest)


def test_bytes_that_are_wanted_while_they_are_removed_are_stored_anew(
    any_hub: HubUnderTest,
) -> None:
    root = any_hub.path / "racing"
    blobs = RacingStore(root, lambda: keep(any_hub, digest, b"bytes", FileBlobStore(root)))
    blobs.prepare()
    digest = f"sha256:{sha256(b'bytes').hexdigest()}"
    keep(any_hub, digest, b"bytes", blobs)
    any_hub.clock.advance(DAY + 1)
    assert collect(any_hub.resources.sessions, blobs, now=any_hub.clock()).blobs == (digest,)
    blobs.thread.join()
    with blobs.open(digest) as file:
        assert file.read() == b"bytes"
    assert collect(any_hub.resources.sessions, blobs, now=any_hub.clock()).blobs == ()


def test_a_whole_hub_is_found_healthy(stored_hub: HubUnderTest) -> None:
    for version in ("0.1.0", "0.2.0", "1.0rc1"):
        stored_hub.publish(version=version)
    stored_hub.train()
    store(stored_hub, b"orphan")
    assert checked(stored_hub) == Health(
        findings=(), blobs=8, versions=3, changes=3, orphans=1, orphan_bytes=6
    )


def test_a_missing_blob_is_found(stored_hub: HubUnderTest) -> None:
    digest = stored_hub.publish()["archive_digest"]
    stored_hub.resources.blobs.delete(digest)
    ((what, problem),) = problems(stored_hub)
    assert what == "archive of local/agree 0.1.0"
    assert digest in problem


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda content: content[:-1], "bytes instead of"),
        (lambda content: bytes([content[0] ^ 1]) + content[1:], "have the digest"),
    ],
)
def test_damaged_bytes_are_found(
    hub: HubUnderTest, damage: Callable[[bytes], bytes], said: str
) -> None:
    path = hub.resources.blobs.local_path(hub.publish()["archive_digest"])
    assert path is not None
    path.write_bytes(damage(path.read_bytes()))
    ((what, problem),) = problems(hub)
    assert (what, said in problem) == ("archive of local/agree 0.1.0", True)


@pytest.mark.parametrize(
    ("statement", "what"),
    [
        ("UPDATE environment_versions SET tree_digest = 'sha256:' || :zeros", "archive of local"),
        ("UPDATE environments SET latest_version = '9'", "local/agree"),
        ("UPDATE environment_versions SET receipt = NULL", "receipt of local/agree 0.1.0"),
        ("UPDATE environment_versions SET receipt = '{}'", "receipt of local/agree 0.1.0"),
        ("UPDATE environment_versions SET published_at = '2001-01-01'", "receipt of local"),
        ("UPDATE changes SET hash = :zeros", "receipt of local/agree 0.1.0"),
        ("UPDATE changes SET nonce = :zeros", "feed"),
        ("DELETE FROM changes", "receipt of local/agree 0.1.0"),
    ],
)
def test_rows_that_were_tampered_with_are_found(
    hub: HubUnderTest, statement: str, what: str
) -> None:
    hub.publish()
    with hub.resources.sessions.begin() as session:
        session.execute(text(statement), {"zeros": "0" * 64} if ":zeros" in statement else {})
    found = problems(hub)
    assert found
    assert found[0][0].startswith(what)


def test_a_receipt_that_another_key_signed_is_found(hub: HubUnderTest, tmp_path: Path) -> None:
    hub.publish()
    stranger = Signer(hub.resources.settings.model_copy(update={"data_dir": tmp_path / "other"}))
    with hub.resources.readers() as session:
        vault = hub.resources.vault
        health = check(session, hub.resources.blobs, stranger.public_keys, vault=vault)
    ((what, problem),) = ((finding.what, finding.problem) for finding in health.findings)
    assert (what, "is not among those trusted" in problem) == ("receipt of local/agree 0.1.0", True)


def test_a_secret_that_no_key_of_the_hub_reads_is_found(hub: HubUnderTest, tmp_path: Path) -> None:
    hub.user.put("/v1/secrets/JUDGE_API_KEY", json={"value": "judge-me-not"})
    assert problems(hub) == []
    settings = hub.resources.settings.model_copy(update={"data_dir": tmp_path})
    with hub.resources.readers() as session:
        keys = hub.resources.signer.public_keys
        health = check(session, hub.resources.blobs, keys, vault=Vault(settings))
    ((what, problem),) = ((finding.what, finding.problem) for finding in health.findings)
    assert what.startswith("secret JUDGE_API_KEY of project")
    assert "a key that the hub does not have" in problem


def other_hub(hub: HubUnderTest, request: pytest.FixtureRequest, folder: Path) -> HubSettings:
    """Return the settings of an empty hub of the same kind."""
    settings = hub.resources.settings.model_copy(update={"data_dir": folder})
    changes: dict[str, object] = {}
    if settings.database_url:
        server = request.getfixturevalue("postgres_server")
        name = f"freesolo_restored_{request.getfixturevalue('worker_id')}"
        changes["database_url"] = create_database(server, name)
    if settings.s3_bucket:
        changes |= request.getfixturevalue("other_bucket")
    return settings.model_copy(update=changes)


@pytest.fixture
def other_bucket(s3_endpoint: str) -> dict[str, object]:
    """The settings of a second empty bucket."""
    return settings_of_new_bucket(s3_endpoint)


def test_a_restored_hub_is_the_same_hub(
    stored_hub: HubUnderTest, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    published = stored_hub.publish()
    run_id = stored_hub.train()
    stored_hub.user.put("/v1/secrets/JUDGE_API_KEY", json={"value": "judge-me-not"})
    folder = tmp_path / "backup"
    folder.mkdir()
    resources = stored_hub.resources
    copied = back_up(resources.settings, resources.blobs, folder, now=stored_hub.clock())
    assert (copied.blobs, copied.new_blobs) == (4, 4)
    settings = other_hub(stored_hub, request, tmp_path / "other" / "hub")
    restore(settings, open_blobs(settings), folder)
    with HubUnderTest(settings, SettableClock(), stored_hub.keys) as other:
        assert checked(other).findings == ()
        pinned = other.user.get("/v1/envs/local/agree/resolve").json()
        assert pinned["tree_digest"] == published["tree_digest"]
        assert other.run(run_id)["state"] == "done"
        path = "/v1/envs/local/agree/versions/0.1.0/archive"
        assert other.download(path) == stored_hub.download(path)
        with other.resources.readers() as session:
            secret = session.scalars(select(ProjectSecret)).one()
        assert other.resources.vault.decrypt(secret.ciphertext) == "judge-me-not"


def test_a_second_backup_copies_what_is_new(hub: HubUnderTest, tmp_path: Path) -> None:
    resources = hub.resources
    hub.publish()
    back_up(resources.settings, resources.blobs, tmp_path, now=hub.clock())
    hub.publish(version="0.2.0")
    again = back_up(resources.settings, resources.blobs, tmp_path, now=hub.clock())
    assert (again.blobs, again.new_blobs) == (4, 2)


def test_a_backup_that_is_interrupted_leaves_the_one_before(
    hub: HubUnderTest, tmp_path: Path
) -> None:
    resources, folder = hub.resources, tmp_path / "backup"
    hub.publish()
    back_up(resources.settings, resources.blobs, folder, now=hub.clock())
    hub.publish(version="0.2.0")
    # It cannot write the manifest, the last thing that it does.
    obstacle = folder / ".manifest.json.new"
    obstacle.mkdir()
    with pytest.raises(IsADirectoryError):
        back_up(resources.settings, resources.blobs, folder, now=hub.clock())
    settings = resources.settings.model_copy(update={"data_dir": tmp_path / "other" / "hub"})
    assert restore(settings, open_blobs(settings), folder).blobs == 2
    obstacle.rmdir()
    back_up(resources.settings, resources.blobs, folder, now=hub.clock())
    assert len(list(folder.glob("database-*"))) == 1


def test_a_backup_writes_no_file_that_it_does_not_know(hub: HubUnderTest, tmp_path: Path) -> None:
    back_up(hub.resources.settings, hub.resources.blobs, tmp_path, now=hub.clock())
    manifest = tmp_path / "manifest.json"
    manifest.write_text(manifest.read_text().replace("encryption-key", "../elsewhere"))
    empty = hub.resources.settings.model_copy(update={"data_dir": tmp_path / "empty" / "hub"})
    with pytest.raises(InvalidInput, match=r"manifest\.json"):
        restore(empty, open_blobs(empty), tmp_path)


def test_nothing_is_restored_over_a_hub_that_holds_something(
    any_hub: HubUnderTest, tmp_path: Path
) -> None:
    resources = any_hub.resources
    any_hub.publish()
    back_up(resources.settings, resources.blobs, tmp_path, now=any_hub.clock())
    with pytest.raises(HubNotEmpty, match="already holds"):
        restore(resources.settings, resources.blobs, tmp_path)
    assert checked(any_hub).findings == ()


@pytest.mark.parametrize("what", ["manifest.json", "database-*", "keys/signing-key.pem", "blobs"])
def test_a_damaged_backup_is_refused_and_leaves_no_database(
    hub: HubUnderTest, tmp_path: Path, what: str
) -> None:
    hub.publish()
    folder = tmp_path / "backup"
    folder.mkdir()
    back_up(hub.resources.settings, hub.resources.blobs, folder, now=hub.clock())
    if what == "blobs":
        shutil.rmtree(folder / "blobs")
    else:
        (file,) = folder.glob(what)
        os.truncate(file, 3)
    empty = hub.resources.settings.model_copy(update={"data_dir": tmp_path / "empty"})
    with pytest.raises((InvalidInput, BlobNotFound)):
        restore(empty, open_blobs(empty), folder)
    assert not (tmp_path / "empty" / "hub.db").exists()


def test_a_backup_that_lost_bytes_since_is_refused(hub: HubUnderTest, tmp_path: Path) -> None:
    digest = hub.publish()["archive_digest"]
    folder = tmp_path / "backup"
    folder.mkdir()
    back_up(hub.resources.settings, hub.resources.blobs, folder, now=hub.clock())
    copy = folder / "blobs" / "sha256" / digest[7:9] / digest[7:]
    copy.write_bytes(bytes(copy.stat().st_size))
    empty = hub.resources.settings.model_copy(update={"data_dir": tmp_path / "empty"})
    with pytest.raises(InvalidInput, match=digest):
        restore(empty, open_blobs(empty), folder)
