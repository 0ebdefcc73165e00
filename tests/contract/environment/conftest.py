import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from freesolo.runtime.client import EnvironmentHost, HostOptions, SandboxMode, open_host
from tests.contract.environment.authors import HostOf, write_files


@pytest.fixture
def restored_imports() -> Iterator[None]:
    """Forget what a test has put on the path and among the modules."""
    path, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where interpreters are kept, shared by all tests of a session."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def host_of(tmp_path: Path, cache_dir: Path) -> Iterator[HostOf]:
    """Write an environment's files and open a host on them; it is closed after the test."""
    with ExitStack() as opened:

        def open_files(files: dict[str, str], **params: object) -> EnvironmentHost:
            folder = write_files(tmp_path / "environment", files)
            options = HostOptions(cache_dir, sandbox=SandboxMode.OFF)
            return opened.enter_context(open_host(folder, options, params=params))

        yield open_files
