"""`freesolo receipt` against a live hub, honest and not."""

from pathlib import Path

import httpx
import pytest
from sqlalchemy import update

from freesolo.domain.receipts import key_id, read_public_keys
from hub_server.models import Change, EnvironmentVersion
from hub_server.settings import HubSettings
from hub_server.signing import Signer, public_pem
from tests.component.cli.conftest import Freesolo
from tests.factories import make_environment
from tests.hubs import LiveHub, resources_of


@pytest.fixture
def published(freesolo: Freesolo, with_hub: LiveHub) -> LiveHub:
    make_environment(Path("agree"))
    assert freesolo("publish", "agree", "--force").code == 0
    return with_hub


def test_a_receipt_is_fetched_and_verified(freesolo: Freesolo, published: LiveHub) -> None:
    told = freesolo("receipt", "local/agree", "--json")
    assert told.code == 0, told.err
    assert told.document["payload"]["version"] == "0.1.0"
    shown = freesolo("receipt", "local/agree@0.1.0")
    assert "local/agree 0.1.0" in shown.out
    assert "The receipt is good." in shown.err


def test_a_receipt_is_verified_with_the_key_that_the_user_trusts(
    freesolo: Freesolo, published: LiveHub, tmp_path: Path
) -> None:
    listed = httpx.get(f"{published.url}/v1/signing-keys").json()["keys"]
    Path("hub.pem").write_text(listed[0]["public_key"])
    assert freesolo("receipt", "local/agree", "--key", "hub.pem").code == 0

    other = Signer(HubSettings(data_dir=tmp_path / "other")).public_keys[0]
    Path("other.pem").write_text(public_pem(other))
    refused = freesolo("receipt", "local/agree", "--key", "other.pem", "--json")
    assert (refused.code, refused.error["code"]) == (2, "invalid_receipt")
    (trusted,) = read_public_keys(listed[0]["public_key"], source="the hub")
    assert key_id(trusted) in refused.error["message"]


def test_a_key_file_that_is_none_is_refused_by_name(freesolo: Freesolo, published: LiveHub) -> None:
    Path("hub.der").write_bytes(b"\xff\x00")
    refused = freesolo("receipt", "local/agree", "--key", "hub.der", "--json")
    assert (refused.code, refused.error["code"]) == (2, "invalid_input")
    assert "hub.der" in refused.error["message"]


def test_a_hub_that_gives_out_other_content_than_it_signed_is_found_out(
    freesolo: Freesolo, published: LiveHub
) -> None:
    with resources_of(published.app).sessions.begin() as session:
        session.execute(update(EnvironmentVersion).values(tree_digest="sha256:" + "0" * 64))
    # What is answered from memory is forgotten with the next change.
    make_environment(Path("agree"), version="0.2.0")
    freesolo("publish", "agree", "--force")
    refused = freesolo("receipt", "local/agree@0.1.0", "--json")
    assert (refused.code, refused.error["code"]) == (2, "invalid_receipt")
    assert "tree_digest" in refused.error["message"]


def test_a_hub_that_rewrote_its_feed_is_found_out(freesolo: Freesolo, published: LiveHub) -> None:
    with resources_of(published.app).sessions.begin() as session:
        session.execute(update(Change).values(hash="0" * 64))
    refused = freesolo("receipt", "local/agree", "--json")
    assert (refused.code, refused.error["code"]) == (2, "invalid_receipt")
    assert "feed_hash" in refused.error["message"]
