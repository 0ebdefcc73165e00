"""login, logout, whoami: whose key, for which hub."""

import stat
from pathlib import Path

import pytest

from tests.component.cli.conftest import Freesolo
from tests.hubs import LiveHub


def test_whoami_tells_org_and_scopes(freesolo: Freesolo, with_hub: LiveHub) -> None:
    who = freesolo("whoami", "--json").document
    assert who["org"] == "local"
    assert "runs:write" in who["scopes"]


def test_login_keeps_a_key_that_only_its_owner_can_read(
    freesolo: Freesolo, live_hub: LiveHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FREESOLO_API_KEY", live_hub.user_key)
    assert freesolo("login", "--hub-url", live_hub.url).code == 0
    monkeypatch.delenv("FREESOLO_API_KEY")
    assert freesolo("whoami", "--json").document["org"] == "local"
    kept = tmp_path / "home" / "credentials.json"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert freesolo("logout").code == 0
    assert freesolo("whoami", "--json").code == 5
    assert live_hub.user_key not in kept.read_text()


def test_a_wrong_key_is_not_stored(
    freesolo: Freesolo, live_hub: LiveHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FREESOLO_API_KEY", "fslo_wrong")
    refusal = freesolo("login", "--hub-url", live_hub.url, "--json")
    assert (refusal.code, refusal.error["code"]) == (5, "unauthorized")
    assert "fslo_wrong" not in refusal.err
    assert not (tmp_path / "home" / "credentials.json").exists()


def test_no_key_at_all_is_answered_with_the_ways_to_get_one(freesolo: Freesolo) -> None:
    refusal = freesolo("whoami", "--json")
    assert refusal.code == 5
    assert "freesolo up" in refusal.error["hint"]


def test_a_hub_that_is_not_there_is_unavailable(
    freesolo: Freesolo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FREESOLO_HUB_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("FREESOLO_API_KEY", "fslo_any")
    refusal = freesolo("whoami", "--json")
    assert refusal.code == 8
    assert "127.0.0.1:9" in refusal.error["message"]
