"""What the command line does for somebody who has no key: whatever is public."""

import pytest

from freesolo.domain.roles import Visibility
from tests.component.cli.conftest import Freesolo
from tests.component.cli.consumers import Publish, write_math, write_tools
from tests.hubs import LiveHub


@pytest.fixture
def stranger(
    freesolo: Freesolo, publish: Publish, with_hub: LiveHub, monkeypatch: pytest.MonkeyPatch
) -> Freesolo:
    """The command line without a key, at a hub where local/tools is public and local/math is not."""
    publish(write_tools("7.1"))
    publish(write_math("7.1"))
    assert freesolo("access", "visibility", "local/tools", Visibility.PUBLIC, "--yes").code == 0
    monkeypatch.delenv("FREESOLO_API_KEY")
    return freesolo


@pytest.mark.parametrize(
    "command",
    [
        "search",
        "info local/tools",
        "versions local/tools",
        "diff local/tools@7.1 local/tools@7.1",
        "pull local/tools -o whole",
        "pull local/tools marks.py -o one",
        "install local/tools@7.1",
        "add local/tools",
    ],
)
def test_what_is_public_is_read_without_a_key(stranger: Freesolo, command: str) -> None:
    result = stranger(*command.split())

    assert result.code == 0, result.err


def test_what_is_not_public_is_not_there_without_a_key(stranger: Freesolo) -> None:
    refusal = stranger("install", "local/math", "--json")

    assert (refusal.code, refusal.error["code"]) == (3, "environment_not_found")
    assert "`freesolo login`" in refusal.error["hint"]


@pytest.mark.parametrize("command", ["whoami", "publish sources/tools-7.1", "keys list"])
def test_what_needs_a_key_says_so_and_how_to_get_one(stranger: Freesolo, command: str) -> None:
    refusal = stranger(*command.split(), "--json")

    assert (refusal.code, refusal.error["code"]) == (5, "unauthorized")
    assert "There is no key for http://127.0.0.1" in refusal.error["message"]
    assert "`freesolo login`" in refusal.error["hint"]
