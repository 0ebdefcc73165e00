"""`freesolo webhooks` and `freesolo uses` against a live hub."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.component.cli.conftest import Freesolo
from tests.factories import make_environment
from tests.hubs import LiveHub

# Nothing listens there; what is sent waits to be sent again.
URL = "http://127.0.0.1:9/hook"


@pytest.fixture
def platform(
    start_live_hub: Callable[..., LiveHub], monkeypatch: pytest.MonkeyPatch, freesolo: Freesolo
) -> LiveHub:
    """A hub that may send to this machine."""
    hub = start_live_hub(webhook_private_networks=True)
    monkeypatch.setenv("FREESOLO_HUB_URL", hub.url)
    monkeypatch.setenv("FREESOLO_API_KEY", hub.user_key)
    return hub


def publish(freesolo: Freesolo, name: str = "agree") -> None:
    make_environment(Path(name), name=name)
    assert freesolo("publish", name, "--force").code == 0


def test_a_webhook_is_made_listed_and_removed(freesolo: Freesolo, platform: LiveHub) -> None:
    made = freesolo(
        "webhooks", "create", URL, "--kind", "version.published", "--env", "local/a*", "--json"
    ).document
    assert made["secret"].startswith("whsec_")
    (listed,) = freesolo("webhooks", "list", "--json").document["webhooks"]
    assert listed == {key: value for key, value in made.items() if key != "secret"}
    assert URL in freesolo("webhooks", "list").out
    removed = freesolo("webhooks", "rm", made["id"], "--yes", "--json")
    assert removed.document == {"id": made["id"]}
    assert freesolo("webhooks", "list", "--json").document == {"webhooks": []}


def test_the_secret_is_shown_with_a_warning_that_it_is_the_only_time(
    freesolo: Freesolo, platform: LiveHub
) -> None:
    shown = freesolo("webhooks", "create", URL)
    assert "whsec_" in shown.out
    assert "not shown again" in shown.err


def test_deliveries_are_listed_and_sent_again(freesolo: Freesolo, platform: LiveHub) -> None:
    hook = freesolo("webhooks", "create", URL, "--json").document["id"]
    publish(freesolo)
    (delivery,) = freesolo("webhooks", "deliveries", hook, "--json").document["deliveries"]
    assert (delivery["kind"], delivery["ref"]) == ("version.published", "local/agree")
    again = freesolo("webhooks", "redeliver", hook, delivery["id"], "--json").document
    assert (again["id"], again["state"]) == (delivery["id"], "waiting")
    assert "local/agree@0.1.0" in freesolo("webhooks", "deliveries", hook).out


def test_an_enabled_webhook_stays_enabled(freesolo: Freesolo, platform: LiveHub) -> None:
    hook = freesolo("webhooks", "create", URL, "--json").document["id"]
    assert freesolo("webhooks", "enable", hook, "--json").document["disabled_at"] is None


def test_an_address_that_may_not_be_sent_to_is_refused(
    freesolo: Freesolo, with_hub: LiveHub
) -> None:
    refused = freesolo("webhooks", "create", URL, "--json")
    assert (refused.code, refused.error["code"]) == (2, "invalid_input")
    assert "127.0.0.1" in refused.error["message"]


def test_removing_a_webhook_asks_first(freesolo: Freesolo, platform: LiveHub) -> None:
    hook = freesolo("webhooks", "create", URL, "--json").document["id"]
    refused = freesolo("webhooks", "rm", hook)
    assert (refused.code, "--yes" in refused.err) == (2, True)
    assert len(freesolo("webhooks", "list", "--json").document["webhooks"]) == 1


def test_a_webhook_that_is_none_is_not_found(freesolo: Freesolo, platform: LiveHub) -> None:
    nobody = "00000000-0000-0000-0000-000000000000"
    refused = freesolo("webhooks", "rm", nobody, "--yes", "--json")
    assert (refused.code, refused.error["code"]) == (3, "webhook_not_found")


def test_uses_tell_how_often_a_version_was_fetched(freesolo: Freesolo, platform: LiveHub) -> None:
    publish(freesolo)
    told = freesolo("uses", "local/agree", "--json").document
    assert told["ref"] == "local/agree"
    assert [version["version"] for version in told["versions"]] == ["0.1.0"]
    assert "0.1.0" in freesolo("uses", "local/agree").out
