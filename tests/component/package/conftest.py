import pytest

from freesolo.runtime.client import HostOptions, SandboxMode


@pytest.fixture(scope="session")
def options(tmp_path_factory: pytest.TempPathFactory) -> HostOptions:
    """How the tests run environments: without bubblewrap, which has tests of its own."""
    return HostOptions(tmp_path_factory.mktemp("cache"), sandbox=SandboxMode.OFF, call_timeout=5)
