"""Fixtures that many folders use: real hubs on a migrated SQLite, a PostgreSQL and an S3 server."""

import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from hub_server.app import create_app
from hub_server.migrating import migrate
from hub_server.settings import HubSettings
from tests import s3
from tests.hubs import Keys, LiveHub, make_keys
from tests.hubs import live_hub as run_live_hub
from tests.postgres import any_postgres, create_database
from tests.system_packages import require_package

MARKED_FOLDERS = ("acceptance", "gpu")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of some folders with the folder's name."""
    root = Path(__file__).parent
    for item in items:
        folder = item.path.relative_to(root).parts[0] if item.path.is_relative_to(root) else ""
        if folder in MARKED_FOLDERS:
            item.add_marker(folder)


@pytest.fixture(scope="session", autouse=True)
def interrupts() -> Iterator[None]:
    """Let SIGINT interrupt, as at a terminal: what a shell starts in the background ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty, migrated SQLite file to copy: migrating takes longer than most tests."""
    path = tmp_path_factory.mktemp("migrated") / "hub.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def postgres_server(worker_id: str) -> Iterator[str | None]:
    """The URL of a PostgreSQL server with a migrated database to copy, if any."""
    with any_postgres() as server:
        if server is not None:
            migrate(create_database(server, f"freesolo_template_{worker_id}"))
        yield server


@pytest.fixture
def postgres_url(postgres_server: str | None, worker_id: str) -> str:
    """An empty, migrated PostgreSQL database of the test's own."""
    if postgres_server is None:
        require_package("postgresql")
    return create_database(
        postgres_server, f"freesolo_test_{worker_id}", template=f"freesolo_template_{worker_id}"
    )


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """The address of a real S3 server."""
    if not s3.is_installed():
        require_package("radosgw")
    with s3.s3_server() as endpoint:
        yield endpoint


@pytest.fixture
def s3_settings(s3_endpoint: str) -> dict[str, object]:
    """The settings of a hub that name an empty bucket of the test's own."""
    return s3.settings_of_new_bucket(s3_endpoint)


@pytest.fixture
def hub_settings(tmp_path: Path, migrated_sqlite: Path) -> HubSettings:
    """Settings of a hub with an empty database in the test's own folder."""
    data_dir = tmp_path / "hub"
    data_dir.mkdir()
    shutil.copy(migrated_sqlite, data_dir / "hub.db")
    return HubSettings(data_dir=data_dir, database_url=None, lease_seconds=30, catalog=None)


@pytest.fixture
def hub_app(hub_settings: HubSettings) -> FastAPI:
    """A hub's application, not yet started."""
    return create_app(hub_settings)


@pytest.fixture
def hub_keys(hub_app: FastAPI) -> Keys:
    """One key of each kind for `hub_app`."""
    return make_keys(hub_app)


@pytest.fixture
def hub_client(hub_app: FastAPI, hub_keys: Keys) -> Iterator[TestClient]:
    """A client of `hub_app` that carries the user's key and sends no request over a socket."""
    headers = {"Authorization": f"Bearer {hub_keys.user}"}
    with TestClient(hub_app, headers=headers) as client:
        yield client


@pytest.fixture
def start_live_hub(hub_settings: HubSettings) -> Iterator[Callable[..., LiveHub]]:
    """Start a hub on loopback with changed settings, as in `start_live_hub(lease_seconds=1)`."""
    with ExitStack() as stack:
        yield lambda **changes: stack.enter_context(
            run_live_hub(hub_settings.model_copy(update=changes))
        )


@pytest.fixture
def live_hub(start_live_hub: Callable[..., LiveHub]) -> LiveHub:
    """A hub that listens on loopback, with one key of each kind."""
    return start_live_hub()
