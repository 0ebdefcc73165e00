"""Adapters on the gateway's disk: as many as have room, and never fewer than are in use."""

import asyncio
import shutil
from pathlib import Path

import pytest

from freesolo.domain.catalog import BaseModelEntry
from freesolo.schemas.base import Artifact
from serving_backend.adapters import AdapterStore
from serving_backend.hub import Hub
from tests import tiny_adapter, tiny_model

_NAMES = "abcde"


class ArchiveHub(Hub):
    """Has the archives of a folder."""

    def __init__(self, archives: dict[str, Path]) -> None:
        super().__init__("http://127.0.0.1:1", "unused")
        self.archives = archives
        self.downloads: list[str] = []

    async def download(self, archive_digest: str, destination: Path) -> None:
        self.downloads.append(archive_digest)
        shutil.copyfile(self.archives[archive_digest], destination)


class Shelf:
    """A store with room for some of the adapters `a` to `e`, all of one size."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.base: BaseModelEntry = tiny_model.catalog_entry(folder)
        self.artifacts: dict[str, Artifact] = {}
        archives = {}
        for seed, name in enumerate(_NAMES):
            made = tiny_adapter.build(folder / "made" / name, seed=seed)
            self.size = sum(file.stat().st_size for file in made.iterdir())
            archive = tiny_adapter.pack(made, folder / f"{name}.tar.zst")
            archives[archive.archive_digest] = archive.path
            self.artifacts[name] = Artifact(
                tree_digest=archive.tree_digest,
                archive_digest=archive.archive_digest,
                size=archive.size,
            )
        self.hub = ArchiveHub(archives)
        self.in_use: list[Path] = []
        self.open()

    def open(self, room: float = 3) -> None:
        """Begin anew on the same folder, as the next gateway does, with room for so many."""
        self.store = AdapterStore(
            self.folder / "adapters",
            self.hub,
            room=int(room * self.size),
            in_use=lambda: self.in_use,
        )

    def stage(self, names: str) -> Path:
        """Use adapters one after the other."""

        async def run() -> Path:
            for name in names:
                folder = await self.store.staged(self.artifacts[name], self.base)
                assert (folder / "adapter_model.safetensors").is_file()
            return folder

        return asyncio.run(run())

    def kept(self) -> set[str]:
        """Return the names of those that are on disk."""
        found = {path.name for path in (self.folder / "adapters").iterdir()}
        return {
            name
            for name, artifact in self.artifacts.items()
            if artifact.tree_digest.removeprefix("sha256:") in found
        }


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


def test_the_least_recently_used_goes_and_comes_back_when_it_is_asked_for(shelf: Shelf) -> None:
    shelf.stage("abcad")
    assert shelf.kept() == {"a", "c", "d"}
    shelf.stage("b")
    assert shelf.kept() == {"a", "b", "d"}
    assert len(shelf.hub.downloads) == 5


def test_what_is_in_use_stays(shelf: Shelf) -> None:
    shelf.in_use.append(shelf.stage("a"))
    shelf.stage("bcde")
    assert shelf.kept() == {"a", "d", "e"}


def test_what_is_in_use_stays_also_beyond_the_room(
    shelf: Shelf, caplog: pytest.LogCaptureFixture
) -> None:
    for name in "abcd":
        shelf.in_use.append(shelf.stage(name))
    assert shelf.kept() == {"a", "b", "c", "d"}
    assert "exceed" in caplog.text


def test_the_next_gateway_knows_what_was_used_last_and_keeps_to_its_own_room(shelf: Shelf) -> None:
    shelf.stage("abca")
    shelf.open(room=2)
    shelf.stage("d")
    assert shelf.kept() == {"a", "d"}


def test_a_removal_that_a_killed_gateway_began_is_finished(shelf: Shelf) -> None:
    folder = shelf.stage("a")
    folder.rename(folder.with_name(f".removed-{folder.name}"))
    shelf.open()
    assert not list((shelf.folder / "adapters").iterdir())


def test_those_that_are_asked_for_at_once_are_all_there_when_they_are_used(shelf: Shelf) -> None:
    async def use(name: str) -> None:
        folder = await shelf.store.staged(shelf.artifacts[name], shelf.base)
        shelf.in_use.append(folder)
        await asyncio.sleep(0.001)
        assert (folder / "adapter_model.safetensors").is_file()
        shelf.in_use.remove(folder)

    async def run() -> None:
        await asyncio.gather(*(use(name) for name in _NAMES * 20))

    shelf.open(room=1)
    asyncio.run(run())
