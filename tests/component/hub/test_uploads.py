"""Archives in pieces: they go on where they were interrupted, and are published like all others."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from hashlib import sha256

import pytest
from httpx2 import Response
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import delete

from freesolo.errors import StorageUnavailable, UploadNotFound
from freesolo.package.archive import Archive
from freesolo.schemas.uploads import OFFSET_HEADER, PIECE_BYTES
from hub_server.blobs import FileBlobStore, Part
from hub_server.maintenance.collecting import collect
from hub_server.models import Upload
from hub_server.publishing.uploads import append as record_piece
from hub_server.publishing.uploads import covering
from tests.component.hub.harness import Document, HubUnderTest, error_of

DAY = 86_400


def begin(hub: HubUnderTest, archive: Archive, **changes: object) -> Response:
    """Ask for an upload of `local/agree 0.1.0`."""
    body = {
        "org": "local",
        "name": "agree",
        "version": "0.1.0",
        "tree_digest": archive.tree_digest,
        "archive_digest": archive.archive_digest,
        "size": archive.size,
    }
    return hub.user.post("/v1/uploads", json=body | changes)


def append(hub: HubUnderTest, upload: Document, offset: int, piece: bytes) -> Response:
    """Send a piece of an upload."""
    return hub.user.patch(
        f"/v1/uploads/{upload['upload_id']}", content=piece, headers={OFFSET_HEADER: str(offset)}
    )


def offset_of(hub: HubUnderTest, upload: Document) -> int:
    """Ask where an upload goes on."""
    answer = hub.user.head(f"/v1/uploads/{upload['upload_id']}")
    assert answer.status_code == 200
    return int(answer.headers[OFFSET_HEADER])


def finalize(hub: HubUnderTest, upload: Document) -> Response:
    """Publish an upload."""
    return hub.user.post(f"/v1/uploads/{upload['upload_id']}/finalize")


def send_all(hub: HubUnderTest, upload: Document, archive: Archive, pieces: int = 3) -> None:
    """Send an archive in several pieces."""
    content = archive.path.read_bytes()
    step = len(content) // pieces + 1
    for offset in range(0, len(content), step):
        answer = append(hub, upload, offset, content[offset : offset + step])
        assert answer.status_code == 204, answer.text
        assert int(answer.headers[OFFSET_HEADER]) == min(offset + step, len(content))


def test_an_archive_in_pieces_is_published_like_any_other(stored_hub: HubUnderTest) -> None:
    archive = stored_hub.pack()
    upload = begin(stored_hub, archive).json()
    send_all(stored_hub, upload, archive)
    answer = finalize(stored_hub, upload)
    assert (answer.status_code, answer.json()["status"]) == (201, "created")
    assert answer.json()["tree_digest"] == archive.tree_digest
    download = stored_hub.download("/v1/envs/local/agree/versions/0.1.0/archive")
    assert download == archive.path.read_bytes()
    assert stored_hub.resources.blobs.uploads() == set()


def test_the_same_archive_finds_its_open_upload(any_hub: HubUnderTest) -> None:
    archive = any_hub.pack()
    first = begin(any_hub, archive)
    append(any_hub, first.json(), 0, archive.path.read_bytes()[:10])
    again = begin(any_hub, archive)
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json() == {"upload_id": first.json()["upload_id"], "offset": 10}


@pytest.mark.parametrize("changes", [{"version": "0.2.0"}, {"stage": True}, {"name": "other"}])
def test_another_version_of_it_is_another_upload(
    hub: HubUnderTest, changes: dict[str, object]
) -> None:
    archive = hub.pack()
    upload = begin(hub, archive).json()["upload_id"]
    other = begin(hub, archive, **changes)
    assert other.status_code == 201
    assert other.json()["upload_id"] != upload


def test_a_piece_elsewhere_than_at_the_end_is_refused_with_the_true_offset(
    hub: HubUnderTest,
) -> None:
    archive = hub.pack()
    upload = begin(hub, archive).json()
    append(hub, upload, 0, archive.path.read_bytes()[:10])
    for offset in (0, 5, 11):
        answer = append(hub, upload, offset, b"piece")
        assert (answer.status_code, error_of(answer)["code"]) == (409, "upload_offset_conflict")
        assert "goes on at 10" in error_of(answer)["message"]
    assert offset_of(hub, upload) == 10


def test_more_than_was_announced_is_too_much(hub: HubUnderTest) -> None:
    archive = hub.pack()
    upload = begin(hub, archive).json()
    answer = append(hub, upload, 0, archive.path.read_bytes() + b"more")
    assert (answer.status_code, error_of(answer)["code"]) == (413, "limit_payload")
    assert offset_of(hub, upload) == 0
    assert list(hub.resources.blobs.staging.iterdir()) == []


def test_a_piece_has_a_largest_size(hub: HubUnderTest) -> None:
    upload = begin(hub, hub.pack(), size=2 * PIECE_BYTES).json()
    assert append(hub, upload, 0, bytes(PIECE_BYTES + 1)).status_code == 413
    assert append(hub, upload, 0, bytes(PIECE_BYTES)).status_code == 204


def test_an_incomplete_upload_is_not_published(hub: HubUnderTest) -> None:
    archive = hub.pack()
    upload = begin(hub, archive).json()
    append(hub, upload, 0, archive.path.read_bytes()[:10])
    answer = finalize(hub, upload)
    assert (answer.status_code, error_of(answer)["code"]) == (409, "upload_offset_conflict")
    assert hub.user.get("/v1/envs/local/agree").status_code == 404


def test_pieces_of_another_archive_are_refused_and_sent_anew(hub: HubUnderTest) -> None:
    archive = hub.pack()
    upload = begin(hub, archive).json()
    append(hub, upload, 0, os.urandom(archive.size))
    answer = finalize(hub, upload)
    assert (answer.status_code, error_of(answer)["code"]) == (422, "invalid_input")
    assert archive.archive_digest in error_of(answer)["message"]
    assert offset_of(hub, upload) == 0
    send_all(hub, upload, archive)
    assert finalize(hub, upload).status_code == 201


def test_what_is_refused_leaves_no_pieces(hub: HubUnderTest) -> None:
    hub.publish()
    archive = hub.pack(comment="another tree")
    upload = begin(hub, archive).json()
    send_all(hub, upload, archive)
    answer = finalize(hub, upload)
    assert (answer.status_code, error_of(answer)["code"]) == (409, "version_exists_conflict")
    assert hub.resources.blobs.uploads() == set()
    assert finalize(hub, upload).status_code == 404
    assert begin(hub, archive).json()["offset"] == 0


def test_a_key_has_so_many_uploads_open(hub: HubUnderTest) -> None:
    archive = hub.pack()
    opened = [begin(hub, archive, version=f"0.{number}") for number in range(32)]
    assert {answer.status_code for answer in opened} == {201}
    refused = begin(hub, archive, version="0.32")
    assert (refused.status_code, error_of(refused)["code"]) == (429, "limit_exceeded")
    # Those that are open can still go on, and with one at its end there is room for another.
    assert begin(hub, archive, version="0.1").status_code == 200
    packed = hub.pack(version="0.33")
    hub.clock.advance(DAY)
    assert begin(hub, packed, version="0.33").status_code == 201


def test_a_piece_of_an_upload_that_has_ended_meanwhile_is_refused(hub: HubUnderTest) -> None:
    upload = begin(hub, hub.pack()).json()["upload_id"]
    with hub.resources.sessions.begin() as session:
        session.execute(delete(Upload))
    with hub.resources.sessions.begin() as session, pytest.raises(UploadNotFound, match=upload):
        record_piece(session, upload, Part(0, 1))


def test_an_upload_that_another_request_ends_meanwhile_is_to_be_asked_for_again(
    hub: HubUnderTest,
) -> None:
    class LosingStore(FileBlobStore):
        def parts(self, upload_id: str) -> list[Part]:
            found = super().parts(upload_id)
            self.delete_parts(upload_id)
            return found

    archive = hub.pack()
    upload = begin(hub, archive).json()
    send_all(hub, upload, archive)
    losing = LosingStore(hub.resources.blobs.staging.parent)
    hub.app.state.resources = replace(hub.resources, blobs=losing)
    answer = finalize(hub, upload)
    assert (answer.status_code, error_of(answer)["code"]) == (503, "unavailable_storage")
    assert "another request" in error_of(answer)["message"].lower()


def test_finalizing_again_changes_nothing(any_hub: HubUnderTest) -> None:
    archive = any_hub.pack()
    upload = begin(any_hub, archive).json()
    send_all(any_hub, upload, archive)
    first, again = finalize(any_hub, upload), finalize(any_hub, upload)
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json() == first.json() | {"status": "unchanged"}


def test_the_upload_of_another_key_does_not_exist(hub: HubUnderTest) -> None:
    upload = begin(hub, hub.pack()).json()
    stranger = hub.client(hub.make_member("other"))
    path = f"/v1/uploads/{upload['upload_id']}"
    answers = [
        stranger.head(path),
        stranger.patch(path, content=b"x", headers={OFFSET_HEADER: "0"}),
        stranger.post(f"{path}/finalize"),
    ]
    assert [answer.status_code for answer in answers] == [404, 404, 404]
    assert error_of(answers[1])["code"] == "upload_not_found"


def test_nobody_begins_an_upload_for_an_org_of_others(hub: HubUnderTest) -> None:
    hub.make_member("other")
    assert begin(hub, hub.pack(), org="other").status_code == 403
    assert begin(hub, hub.pack(), org="nobody").status_code == 403


def test_an_upload_is_given_up_after_a_day(any_hub: HubUnderTest) -> None:
    archive = any_hub.pack()
    upload = begin(any_hub, archive).json()
    append(any_hub, upload, 0, archive.path.read_bytes()[:10])
    resources = any_hub.resources
    any_hub.clock.advance(DAY - 1)
    assert collect(resources.sessions, resources.blobs, now=any_hub.clock()).uploads == ()
    any_hub.clock.advance(1)
    assert any_hub.user.head(f"/v1/uploads/{upload['upload_id']}").status_code == 404
    collected = collect(resources.sessions, resources.blobs, now=any_hub.clock())
    assert collected.uploads == (upload["upload_id"],)
    assert resources.blobs.uploads() == set()
    assert begin(any_hub, archive).status_code == 201


def test_of_two_that_send_the_same_piece_at_once_one_is_told_to_look(
    any_hub: HubUnderTest,
) -> None:
    archive = any_hub.pack()
    upload = begin(any_hub, archive).json()
    content = archive.path.read_bytes()
    # The same bytes, cut otherwise: whichever is recorded, the pieces still make the archive.
    with ThreadPoolExecutor() as threads:
        answers = threads.map(
            lambda length: append(any_hub, upload, 0, content[:length]).status_code,
            [100, 200, 300, 400],
        )
        assert sorted(answers) == [204, 409, 409, 409]
    offset = offset_of(any_hub, upload)
    append(any_hub, upload, offset, content[offset:])
    assert finalize(any_hub, upload).status_code == 201


@given(st.data(), st.integers(1, 60))
def test_pieces_that_overlap_still_make_the_whole(data: st.DataObject, size: int) -> None:
    content = sha256(bytes([size])).digest() * 2
    pieces = set(_chain(data, size))
    for _ in range(data.draw(st.integers(0, 5))):
        offset = data.draw(st.integers(0, size - 1))
        pieces.add(Part(offset, data.draw(st.integers(0, size - offset))))
    made = b"".join(
        content[piece.offset + skip : piece.offset + piece.size]
        for piece, skip in covering(sorted(pieces), size)
    )
    assert made == content[:size]


def _chain(data: st.DataObject, size: int) -> Iterator[Part]:
    offset = 0
    while offset < size:
        length = data.draw(st.integers(1, size - offset))
        yield Part(offset, length)
        offset += length


@pytest.mark.parametrize("pieces", [[], [Part(0, 5)], [Part(5, 5)], [Part(0, 4), Part(5, 5)]])
def test_a_gap_between_pieces_is_the_stores_fault(pieces: list[Part]) -> None:
    with pytest.raises(StorageUnavailable, match="lost the bytes"):
        covering(pieces, 10)
