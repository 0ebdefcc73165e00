"""`freesolo usage`: what an org used, for people, for programs and for spreadsheets."""

from tests.component.cli.conftest import Freesolo
from tests.hubs import LiveHub


def test_an_answer_is_for_a_spreadsheet_or_for_a_program(
    freesolo: Freesolo, with_hub: LiveHub
) -> None:
    assert freesolo("usage", "--csv").out.startswith("key_name,model,requests,")
    assert freesolo("usage", "--json").document["usage"] == []
    both = freesolo("usage", "--csv", "--json")
    assert (both.code, both.error["code"]) == (2, "invalid_input")
    assert "--csv or --json" in both.error["message"]
