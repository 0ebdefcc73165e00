"""Platforms without a worker; a test starts as many as it needs."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from freesolo.cli.main import run as freesolo
from tests.platforms import Platform, running_platform


@pytest.fixture
def platform(tmp_path: Path, migrated_sqlite: Path) -> Iterator[Platform]:
    """A platform whose leases run out soon."""
    with running_platform(tmp_path, migrated_sqlite) as platform:
        yield platform


@pytest.fixture
def patient_platform(tmp_path: Path, migrated_sqlite: Path) -> Iterator[Platform]:
    """A platform whose leases last for so long that nothing can be waiting for one to run out."""
    with running_platform(tmp_path, migrated_sqlite, lease_seconds=3600.0) as platform:
        yield platform


# A command of the platform's user: its exit code, and what it printed.
Command = Callable[..., tuple[int, str]]


@pytest.fixture
def command(
    platform: Platform, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Command:
    """Run a command as the platform's user."""
    monkeypatch.setenv("FREESOLO_HUB_URL", platform.hub.url)
    monkeypatch.setenv("FREESOLO_API_KEY", platform.hub.user_key)
    monkeypatch.setenv("FREESOLO_HOME", str(platform.folder / "home"))

    def call(*arguments: str) -> tuple[int, str]:
        capsys.readouterr()
        code = freesolo(list(arguments))
        return code, capsys.readouterr().out

    return call
