"""The command line in this process, against a real hub on loopback."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from freesolo.cli.main import run
from tests.component.cli.consumers import Publish, publish_folder
from tests.hubs import LiveHub


@dataclass(frozen=True)
class Result:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:  # noqa: ANN401 - JSON
        """Standard output as the one JSON document that it must be."""
        return json.loads(self.out)

    @property
    def error(self) -> Any:  # noqa: ANN401 - JSON
        """The error envelope: the last line of standard error."""
        return json.loads(self.err.splitlines()[-1])["error"]


Freesolo = Callable[..., Result]


@pytest.fixture(scope="session")
def environment_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache for the session: an environment's interpreter is built once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def freesolo(
    tmp_path: Path,
    environment_cache: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Freesolo:
    """Run a command in an empty folder, with a home of the test's own and no key."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("FREESOLO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FREESOLO_CACHE_DIR", str(environment_cache))
    monkeypatch.delenv("FREESOLO_API_KEY", raising=False)
    monkeypatch.delenv("FREESOLO_HUB_URL", raising=False)

    def call(*arguments: object) -> Result:
        capsys.readouterr()
        code = run([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return Result(code, out, err)

    return call


@pytest.fixture
def with_hub(live_hub: LiveHub, monkeypatch: pytest.MonkeyPatch, freesolo: Freesolo) -> LiveHub:
    """Point the command line at a live hub, with a user's key."""
    monkeypatch.setenv("FREESOLO_HUB_URL", live_hub.url)
    monkeypatch.setenv("FREESOLO_API_KEY", live_hub.user_key)
    return live_hub


@pytest.fixture
def publish(with_hub: LiveHub) -> Publish:
    """Publish an environment's folder and return its tree digest."""
    return lambda folder: publish_folder(with_hub, folder)
