import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from freesolo.runtime.client import EnvironmentHost, HostOptions, SandboxMode, open_host
from freesolo.runtime.sandbox import Limits, bubblewrap_works, machine_limits
from tests.environment_folders import write_environment

OpenHost = Callable[..., EnvironmentHost]


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where interpreters are kept, shared by all tests of a session."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def has_bubblewrap() -> bool:
    """Whether bubblewrap is installed and works here."""
    found = shutil.which("bwrap")
    return found is not None and bubblewrap_works(found)


@pytest.fixture(params=[SandboxMode.OFF, SandboxMode.REQUIRED])
def sandbox(request: pytest.FixtureRequest, has_bubblewrap: bool) -> SandboxMode:
    """Run a test without bubblewrap and, where it works, with it."""
    mode = SandboxMode(request.param)
    if mode is SandboxMode.REQUIRED and not has_bubblewrap:
        pytest.skip("bubblewrap does not work here")
    return mode


@pytest.fixture
def host_of(tmp_path: Path, cache_dir: Path) -> Iterator[OpenHost]:
    """Open a host on an environment's code; it is closed after the test."""
    with ExitStack() as open_hosts:

        def open_code(
            code: str,
            *,
            sandbox: SandboxMode = SandboxMode.OFF,
            manifest: str | None = None,
            call_timeout: float = 30.0,
            load_timeout: float = 120.0,
            limits: Limits | None = None,
            modules: dict[str, str] | None = None,
            **arguments: object,
        ) -> EnvironmentHost:
            folder = write_environment(
                tmp_path / "environment", code, manifest=manifest, **(modules or {})
            )
            options = HostOptions(
                cache_dir,
                sandbox=sandbox,
                call_timeout=call_timeout,
                load_timeout=load_timeout,
                limits=limits or machine_limits(),
            )
            return open_hosts.enter_context(open_host(folder, options, **arguments))  # type: ignore[arg-type]

        yield open_code
