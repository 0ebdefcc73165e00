"""A hub with a clock that stands still, and the calls that these tests make on it."""

from collections.abc import Iterator

import pytest

from hub_server.migrating import migrate
from hub_server.settings import HubSettings
from tests.component.hub.harness import HubUnderTest, SettableClock
from tests.postgres import any_postgres, create_database

@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str | None]:
    """The URL of a PostgreSQL server with a migrated database `freesolo_template`, if any."""
    with any_postgres() as server:
        if server is not None:
            migrate(create_database(server, "freesolo_template"))
        yield server


@pytest.fixture
def postgres_url(postgres_server: str | None) -> str:
    """An empty, migrated PostgreSQL database of the test's own."""
    if postgres_server is None:
        pytest.skip("no PostgreSQL: set TEST_DATABASE_URL, or install the package `postgresql`")
    return create_database(postgres_server, "freesolo_test", template="freesolo_template")


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
