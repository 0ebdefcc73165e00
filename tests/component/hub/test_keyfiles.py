"""The hub's own keys: made once, for the hub alone, or given."""

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from freesolo.domain.receipts import key_id, verify_receipt
from freesolo.errors import InvalidInput
from hub_server.encryption import Vault
from hub_server.keyfiles import ensure_key_file
from hub_server.settings import HubSettings
from hub_server.signing import Signer, public_pem


@pytest.fixture
def settings(tmp_path: Path) -> HubSettings:
    return HubSettings(data_dir=tmp_path / "hub")


def given(settings: HubSettings, **files: str) -> HubSettings:
    """Write key files beside the data folder and name them in the settings."""
    paths = {name: settings.data_dir.with_name(name) for name in files}
    for name, text in files.items():
        paths[name].write_text(text)
    return settings.model_copy(update=paths)


def test_keys_are_made_at_the_first_start_and_kept(settings: HubSettings) -> None:
    keys = Signer(settings).public_keys
    stored = Vault(settings).encrypt("secret")
    assert [key_id(key) for key in Signer(settings).public_keys] == [key_id(keys[0])]
    assert Vault(settings).decrypt(stored) == "secret"


def test_only_the_hub_may_read_its_keys(settings: HubSettings) -> None:
    Signer(settings).sign({"type": "test"})
    Vault(settings).encrypt("secret")
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in settings.data_dir.iterdir()}
    assert modes == {"signing-key.pem": 0o600, "encryption-key": 0o600}


def test_of_processes_that_start_at_once_all_use_one_key(tmp_path: Path) -> None:
    path = tmp_path / "key"
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda n: ensure_key_file(path, lambda: str(n)), range(16)))
    assert path.read_text() in {str(n) for n in range(16)}
    assert [file.name for file in tmp_path.iterdir()] == ["key"]


def test_what_the_hub_signs_verifies(settings: HubSettings) -> None:
    signer = Signer(settings)
    verify_receipt(signer.sign({"type": "freesolo-receipt 1"}), signer.public_keys)


def test_a_replaced_key_is_still_shown(settings: HubSettings, tmp_path: Path) -> None:
    old = Signer(settings)
    receipt = old.sign({"type": "freesolo-receipt 1"})
    new = Signer(HubSettings(data_dir=tmp_path / "new"))
    names = [key_id(signer.public_keys[0]) for signer in (new, old)]
    new_file = tmp_path / "new" / "signing-key.pem"
    both = given(settings, signing_key=new_file.read_text() + public_pem(old.public_keys[0]))
    assert [key_id(key) for key in Signer(both).public_keys] == names
    verify_receipt(receipt, Signer(both).public_keys)


def test_a_replaced_key_still_decrypts(settings: HubSettings) -> None:
    old, new = (Fernet.generate_key().decode() for _ in range(2))
    stored = Vault(given(settings, encryption_key=old)).encrypt("secret")
    assert Vault(given(settings, encryption_key=f"{new}\n{old}\n")).decrypt(stored) == "secret"
    with pytest.raises(InvalidInput, match="a key that the hub does not have"):
        Vault(given(settings, encryption_key=new)).decrypt(stored)


@pytest.mark.parametrize(
    "text", ["", "a key", "-----BEGIN PRIVATE KEY-----\nAA\n-----END PRIVATE KEY-----"]
)
def test_a_file_without_a_key_is_refused_by_name(settings: HubSettings, text: str) -> None:
    wrong = given(settings, signing_key=text, encryption_key=text)
    with pytest.raises(InvalidInput, match="signing_key"):
        Signer(wrong).sign({})
    with pytest.raises(InvalidInput, match="encryption_key"):
        Vault(wrong).encrypt("secret")


def test_a_file_that_is_named_but_missing_is_not_made(settings: HubSettings) -> None:
    missing = settings.model_copy(update={"signing_key": settings.data_dir / "none.pem"})
    with pytest.raises(InvalidInput, match=r"none\.pem") as caught:
        Signer(missing).sign({})
    assert "FREESOLO_SERVER_SIGNING_KEY" in str(caught.value.hint)
    assert not (settings.data_dir / "none.pem").exists()
