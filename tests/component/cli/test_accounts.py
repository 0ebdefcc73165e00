"""login, logout, whoami: whose key, for which hub."""

import stat
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.responses import RedirectResponse

from freesolo.config import CredentialStore, Profile
from tests.component.cli.conftest import Freesolo
from tests.hubs import LiveHub, serving


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


def test_a_key_with_a_line_end_works_and_a_mangled_one_is_not_shown(
    freesolo: Freesolo, with_hub: LiveHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FREESOLO_API_KEY", f"{with_hub.user_key}\r\n")
    assert freesolo("whoami", "--json").code == 0
    for mangled in ("fslo_sec\nret", "fslo_sécret"):
        monkeypatch.setenv("FREESOLO_API_KEY", mangled)
        refusal = freesolo("whoami", "--json")
        assert (refusal.code, refusal.error["code"]) == (5, "unauthorized")
        assert "ret" not in refusal.error["message"]


@pytest.mark.parametrize("url", ["127.0.0.1:8420", "ftp://hub", "http://[::1"])
def test_text_that_is_no_address_is_the_callers_to_mend(
    freesolo: Freesolo, with_hub: LiveHub, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("FREESOLO_HUB_URL", url)
    refusal = freesolo("whoami", "--json")
    assert refusal.code == 2
    assert url in refusal.error["message"]


def test_an_address_of_something_else_is_told_as_such(
    freesolo: Freesolo, with_hub: LiveHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = FastAPI()
    other.get("/v1/whoami")(lambda: {"hello": "world"})
    other.get("/v1/models")(lambda: RedirectResponse("/elsewhere"))
    with serving(other) as url:
        monkeypatch.setenv("FREESOLO_HUB_URL", url)
        stranger = freesolo("whoami", "--json")
        redirected = freesolo("models", "--json")
    assert (stranger.code, redirected.code) == (2, 2)
    assert url in stranger.error["message"]
    assert "/elsewhere" in redirected.error["message"]


def test_a_hub_on_this_machine_is_reached_past_a_proxy(
    freesolo: Freesolo, with_hub: LiveHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    assert freesolo("whoami", "--json").code == 0


def test_logout_forgets_the_hub_in_use_and_no_other(
    freesolo: Freesolo, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    store = CredentialStore(tmp_path / "home")
    store.save(Profile("http://one", "fslo_one"))
    store.save(Profile("http://two", "fslo_two"))
    monkeypatch.setenv("FREESOLO_HUB_URL", "http://one/")
    assert freesolo("logout", "--json").document == {"hub_url": "http://one"}
    assert freesolo("logout", "--json").document == {"hub_url": None}
    monkeypatch.delenv("FREESOLO_HUB_URL")
    assert freesolo("logout", "--json").document == {"hub_url": "http://two"}


def test_platforms_that_take_turns_on_a_port_keep_their_keys(tmp_path: Path) -> None:
    store = CredentialStore(tmp_path)
    first = Profile("http://127.0.0.1:8420", "fslo_first", data_dir="/a")
    second = Profile("http://127.0.0.1:8420", "fslo_second", data_dir="/b")
    for profile in (first, second, Profile("http://127.0.0.1:8420", "fslo_third")):
        store.save(profile)
        assert store.active() == profile
    assert store.find_platform(Path("/a")) == first
    assert store.find_platform(Path("/b")) == second
    store.save(Profile("http://127.0.0.1:9000", "fslo_first", data_dir="/a"))
    assert store.find_platform(Path("/a")) == store.find("http://127.0.0.1:9000")


def test_damaged_credentials_are_told_with_their_place(freesolo: Freesolo, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "credentials.json").write_text("{")
    refusal = freesolo("whoami", "--json")
    assert refusal.code == 2
    assert "credentials.json" in refusal.error["message"]


def test_an_empty_variable_is_no_value(
    freesolo: Freesolo, with_hub: LiveHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FREESOLO_API_KEY", "")
    refusal = freesolo("whoami", "--json")
    assert "There is no key" in refusal.error["message"]
