"""Platforms without a worker; a test starts as many as it needs."""

from collections.abc import Iterator
from pathlib import Path

import pytest

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
