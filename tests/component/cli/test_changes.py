"""`freesolo changes` against a live hub."""

from pathlib import Path

from sqlalchemy import update

from hub_server.models import Change
from tests.component.cli.conftest import Freesolo
from tests.factories import make_environment
from tests.hubs import LiveHub, resources_of


def test_changes_lists_and_verifies(freesolo: Freesolo, with_hub: LiveHub) -> None:
    make_environment(Path("agree"))
    assert freesolo("publish", "agree", "--force").code == 0
    told = freesolo("changes", "--verify", "--json").document
    assert told["verified"]
    assert [change["entry"]["kind"] for change in told["changes"]] == ["version.published"]
    assert told["head"] == {"serial": 1, "hash": told["changes"][0]["hash"]}
    shown = freesolo("changes", "--verify")
    assert "local/agree@0.1.0" in shown.out
    assert "unbroken up to change 1" in shown.err


def test_changes_since_a_number_shows_what_followed(freesolo: Freesolo, with_hub: LiveHub) -> None:
    for name in ("one", "two"):
        make_environment(Path(name), name=name)
        assert freesolo("publish", name, "--force").code == 0
    told = freesolo("changes", "--since", 1, "--json").document
    assert [change["entry"]["ref"] for change in told["changes"]] == ["local/two"]


def test_a_hub_that_alters_its_history_is_found_out(freesolo: Freesolo, with_hub: LiveHub) -> None:
    make_environment(Path("agree"))
    assert freesolo("publish", "agree", "--force").code == 0
    with resources_of(with_hub.app).sessions.begin() as session:
        session.execute(update(Change).values(hash="0" * 64))
    answer = freesolo("changes", "--verify", "--json")
    assert answer.code == 2
    assert answer.error["code"] == "invalid_feed"
    assert "Change 1 of the feed" in answer.error["message"]
