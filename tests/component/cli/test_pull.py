"""pull: a version's files, or one of them, verified; from the cache where it has them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from freesolo.client.files import download_file
from freesolo.client.hub import HubClient
from freesolo.domain.refs import EnvRef
from freesolo.errors import InvalidEnvironment
from freesolo.schemas.contents import FileEntry
from freesolo.schemas.environments import ResolvedVersion
from tests.component.cli.conftest import Freesolo
from tests.component.cli.consumers import Publish, hub_is_gone, write_math
from tests.hubs import LiveHub


@pytest.fixture
def fresh_cache(freesolo: Freesolo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache that holds nothing."""
    cache = tmp_path / "cache"
    monkeypatch.setenv("FREESOLO_CACHE_DIR", str(cache))
    return cache


def with_dataset(version: str = "1.0") -> Path:
    folder = write_math(version)
    (folder / "dataset").mkdir()
    (folder / "dataset" / "a row.jsonl").write_text('{"input": "1"}\n')
    (folder / "run.sh").write_text("#!/bin/sh\n")
    (folder / "run.sh").chmod(0o755)
    return folder


def test_one_file_is_fetched_without_the_others(
    freesolo: Freesolo, publish: Publish, fresh_cache: Path
) -> None:
    publish(with_dataset())

    pulled = freesolo("pull", "local/math@1.0", "dataset/a row.jsonl", "--json")

    assert pulled.code == 0, pulled.err
    assert pulled.document["files"] == ["dataset/a row.jsonl"]
    assert Path("math/dataset/a row.jsonl").read_text() == '{"input": "1"}\n'
    assert [path.name for path in Path("math").iterdir()] == ["dataset"]
    assert not (fresh_cache / "environments").exists()


def test_a_file_stays_executable(freesolo: Freesolo, publish: Publish, fresh_cache: Path) -> None:
    publish(with_dataset())

    freesolo("pull", "local/math", "run.sh", "-o", "here")
    freesolo("pull", "local/math", "-o", "all")

    assert Path("here/run.sh").stat().st_mode & 0o111
    assert Path("all/run.sh").stat().st_mode & 0o111


@pytest.mark.parametrize("first", [(), ("install", "local/math")])
@pytest.mark.parametrize("path", ["enviroment.py", "../environment.py", "dataset", "/etc/passwd"])
def test_a_file_that_is_not_there_is_told_with_the_nearest(
    freesolo: Freesolo, publish: Publish, fresh_cache: Path, path: str, first: tuple[str, ...]
) -> None:
    publish(with_dataset())
    if first:
        freesolo(*first)

    refusal = freesolo("pull", "local/math", path, "--json")

    assert (refusal.code, refusal.error["code"]) == (3, "not_found")
    assert "environment.py" in refusal.error["hint"]
    assert not Path("math/environment.py").exists()


def test_a_file_is_not_written_over_unless_told_to(freesolo: Freesolo, publish: Publish) -> None:
    publish(with_dataset())
    Path("math").mkdir()
    Path("math/environment.py").write_text("mine")

    assert freesolo("pull", "local/math", "environment.py").code == 4
    assert Path("math/environment.py").read_text() == "mine"
    assert freesolo("pull", "local/math", "environment.py", "--force").code == 0
    assert Path("math/environment.py").read_text() != "mine"


def test_what_is_locked_comes_from_the_cache(
    freesolo: Freesolo, publish: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(with_dataset("1.0"))
    freesolo("add", "local/math")
    publish(with_dataset("1.1"))
    hub_is_gone(monkeypatch)

    assert freesolo("pull", "local/math", "--json").document["version"] == "1.0"
    assert freesolo("pull", "local/math", "run.sh", "-o", "here").code == 0


class LyingHub(HubClient):
    """A hub that changes what it sends."""

    def __init__(self, hub: LiveHub, change: Callable[[FileEntry], FileEntry], body: str) -> None:
        super().__init__(hub.url, hub.user_key)
        self._lie = change
        self._body = body

    def files(self, version: ResolvedVersion) -> list[FileEntry]:
        return [self._lie(file) for file in super().files(version)]

    def download_file(self, version: ResolvedVersion, path: str, destination: Path) -> None:
        destination.write_text(self._body)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda file: file, "as 'environment.py' instead of"),
        (lambda file: file.model_copy(update={"sha256": "0" * 64}), "The hub lists the files of"),
    ],
)
def test_a_hub_that_lies_about_a_file_is_not_believed(
    freesolo: Freesolo,
    publish: Publish,
    with_hub: LiveHub,
    change: Callable[[FileEntry], FileEntry],
    words: str,
) -> None:
    publish(with_dataset())
    with LyingHub(with_hub, change, "other code") as hub:
        version = hub.resolve(EnvRef.parse("local/math"))
        with pytest.raises(InvalidEnvironment, match=words):
            download_file(hub, version, "environment.py", Path("here/environment.py"))
    assert not Path("here/environment.py").exists()
