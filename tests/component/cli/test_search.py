"""`freesolo search`."""

from pathlib import Path

from tests.component.cli.conftest import Freesolo
from tests.hubs import LiveHub


def publish(freesolo: Freesolo, name: str) -> None:
    assert freesolo("init", name).code == 0
    assert freesolo("publish", Path(name)).code == 0


def test_search_shows_what_holds_all_words(freesolo: Freesolo, with_hub: LiveHub) -> None:
    publish(freesolo, "long-dates")
    publish(freesolo, "dates")
    found = freesolo("search", "long", "dat", "--turn-type", "single-turn", "--json")
    assert found.code == 0
    assert [result["ref"] for result in found.document["results"]] == ["local/long-dates"]
    shown = freesolo("search", "dates")
    assert shown.out.index("local/dates") < shown.out.index("local/long-dates")
    assert "freesolo info local/dates" in shown.err


def test_a_search_that_finds_nothing_is_no_error(freesolo: Freesolo, with_hub: LiveHub) -> None:
    publish(freesolo, "dates")
    nothing = freesolo("search", "dates", "--tag", "none", "--json")
    assert (nothing.code, nothing.document) == (0, {"results": []})
    assert "Nothing was found." in nothing.err
