"""Receipts: signed with the publish, and true of it."""

import pytest
from httpx2 import Response

from freesolo.domain.receipts import SignedPayload, check_says, read_public_keys, verify_receipt
from freesolo.schemas.receipts import ReceiptPayload
from freesolo.schemas.uploads import OFFSET_HEADER
from hub_server.models import EnvironmentVersion
from hub_server.settings import HubSettings
from tests.component.hub.harness import Document, HubUnderTest, SettableClock, error_of
from tests.factories import content_digest

PATH = "/v1/envs/local/agree/versions/0.1.0/receipt"


def receipt_of(hub: HubUnderTest, path: str = PATH) -> SignedPayload:
    response = hub.user.get(path)
    assert response.status_code == 200, response.text
    return SignedPayload(**response.json())


def keys(hub: HubUnderTest) -> str:
    listed: list[Document] = hub.client(None).get("/v1/signing-keys").json()["keys"]
    return "".join(key["public_key"] for key in listed)


def test_a_receipt_says_what_was_published_and_verifies(any_hub: HubUnderTest) -> None:
    published = any_hub.publish()
    receipt = receipt_of(any_hub)
    verify_receipt(receipt, read_public_keys(keys(any_hub), source="the hub"))
    (change,) = any_hub.user.get("/v1/changes").json()["changes"]
    check_says(
        receipt,
        {
            "ref": "local/agree",
            "version": "0.1.0",
            "tree_digest": published["tree_digest"],
            "archive_digest": published["archive_digest"],
            "size": published["size"],
            "published_at": "2030-01-01T00:00:00+00:00",
            "serial": change["serial"],
            "feed_hash": change["hash"],
            "key_id": receipt.key_id,
        },
    )
    assert set(ReceiptPayload.model_fields) == set(receipt.payload)


def test_the_receipt_never_changes(hub: HubUnderTest) -> None:
    hub.publish()
    receipt = receipt_of(hub)
    hub.publish()
    hub.publish(version="0.2.0")
    assert receipt_of(hub) == receipt


def test_a_promoted_version_has_the_receipt_of_its_promotion(hub: HubUnderTest) -> None:
    archive = hub.pack()
    hub.user.put(
        "/v1/envs/local/agree/versions/0.1.0?stage=true",
        content=archive.path.read_bytes(),
        headers={"Content-Digest": content_digest(archive.archive_digest)},
    )
    staged = receipt_of(hub)
    hub.clock.advance(60)
    assert hub.user.post("/v1/envs/local/agree/versions/0.1.0/promote").status_code == 200
    promoted = receipt_of(hub)
    assert (staged.payload["serial"], promoted.payload["serial"]) == (1, 2)
    assert promoted.payload["published_at"] == "2030-01-01T00:01:00+00:00"
    verify_receipt(promoted, read_public_keys(keys(hub), source="the hub"))


def test_who_may_not_read_a_version_gets_no_receipt(hub: HubUnderTest) -> None:
    hub.publish()
    for key in (None, hub.make_member("other")):
        response = hub.client(key).get(PATH)
        assert (response.status_code, error_of(response)["code"]) == (404, "environment_not_found")


@pytest.mark.parametrize(
    ("version", "code"), [("9.9", "version_not_found"), ("x", "invalid_input")]
)
def test_a_version_that_is_none_has_no_receipt(hub: HubUnderTest, version: str, code: str) -> None:
    hub.publish()
    response = hub.user.get(f"/v1/envs/local/agree/versions/{version}/receipt")
    assert error_of(response)["code"] == code


def test_a_version_without_a_receipt_says_so(hub: HubUnderTest) -> None:
    hub.publish()
    with hub.resources.sessions.begin() as session:
        session.query(EnvironmentVersion).update({"receipt": None})
    response = hub.user.get(PATH)
    assert (response.status_code, error_of(response)["code"]) == (404, "not_found")


def test_what_came_in_pieces_has_a_receipt(hub: HubUnderTest) -> None:
    assert upload(hub).status_code == 201
    verify_receipt(receipt_of(hub), read_public_keys(keys(hub), source="the hub"))


def test_what_came_in_pieces_counts_against_the_quota(hub_settings: HubSettings) -> None:
    small = hub_settings.model_copy(update={"org_storage_bytes": 1})
    with HubUnderTest(small, SettableClock()) as hub:
        refused = upload(hub)
    assert error_of(refused)["code"] == "quota_exceeded"


def upload(hub: HubUnderTest) -> Response:
    """Send `local/agree 0.1.0` as an upload of one piece and publish it."""
    archive = hub.pack()
    wanted = {
        "org": "local",
        "name": "agree",
        "version": "0.1.0",
        "tree_digest": archive.tree_digest,
        "archive_digest": archive.archive_digest,
        "size": archive.size,
    }
    path = f"/v1/uploads/{hub.user.post('/v1/uploads', json=wanted).json()['upload_id']}"
    piece = archive.path.read_bytes()
    assert hub.user.patch(path, content=piece, headers={OFFSET_HEADER: "0"}).is_success
    return hub.user.post(f"{path}/finalize")
