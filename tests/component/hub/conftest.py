"""A hub with a clock that stands still, and the calls that these tests make on it."""

from collections.abc import Iterator

import pytest

from hub_server.settings import HubSettings
from tests.component.hub.harness import HubUnderTest, SettableClock


@pytest.fixture
def hub(hub_settings: HubSettings) -> Iterator[HubUnderTest]:
    """A hub on SQLite."""
    with HubUnderTest(hub_settings, SettableClock()) as hub:
        yield hub


@pytest.fixture(params=["sqlite", "postgresql"])
def any_hub(request: pytest.FixtureRequest, hub_settings: HubSettings) -> Iterator[HubUnderTest]:
    """A hub on each database, for what could differ between them."""
    settings = hub_settings
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres_url")
        settings = hub_settings.model_copy(update={"database_url": url})
    with HubUnderTest(settings, SettableClock()) as hub:
        yield hub


@pytest.fixture(params=["sqlite-disk", "sqlite-s3", "postgresql-disk", "postgresql-s3"])
def stored_hub(request: pytest.FixtureRequest, hub_settings: HubSettings) -> Iterator[HubUnderTest]:
    """A hub on each database with each store, for what touches both."""
    changes: dict[str, object] = {}
    if "postgresql" in request.param:
        changes["database_url"] = request.getfixturevalue("postgres_url")
    if "s3" in request.param:
        changes |= request.getfixturevalue("s3_settings")
    with HubUnderTest(hub_settings.model_copy(update=changes), SettableClock()) as hub:
        yield hub
