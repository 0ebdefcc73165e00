import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from freesolo.errors import InvalidEnvironment
from freesolo.package.archive import Archive, build_archive
from freesolo.package.cache import cached_environment, list_cache, remove_leftovers
from freesolo.schemas.environments import ResolvedVersion

FILES = ("environment.py", "dataset/train.jsonl")


class Source:
    """A published version, and how often it was asked for."""

    def __init__(self, archive: Archive) -> None:
        self.archive = archive
        self.downloads = 0
        self.version = ResolvedVersion(
            ref="local/example",
            version="0.1.0",
            tree_digest=archive.tree_digest,
            archive_digest=archive.archive_digest,
            size=archive.size,
        )

    def download(self, destination: Path) -> None:
        self.downloads += 1
        destination.write_bytes(self.archive.path.read_bytes())


@pytest.fixture
def source(tmp_path: Path) -> Source:
    for name in FILES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    return Source(build_archive(tmp_path, FILES, tmp_path / "archive"))


def test_a_version_is_downloaded_once(tmp_path: Path, source: Source) -> None:
    first = cached_environment(source.version, tmp_path / "cache", download=source.download)
    again = cached_environment(source.version, tmp_path / "cache", download=source.download)

    assert first == again
    assert source.downloads == 1
    assert [(first / name).read_text() for name in FILES] == list(FILES)


def replace_by_link(folder: Path) -> None:
    (folder / FILES[0]).rename(folder.parent / "elsewhere")
    (folder / FILES[0]).symlink_to(folder.parent / "elsewhere")


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / FILES[0]).write_text("changed"),
        lambda folder: (folder / FILES[0]).unlink(),
        lambda folder: (folder / FILES[0]).chmod(0o755),
        lambda folder: (folder / "json.py").write_text("shadows a module"),
        lambda folder: (folder / "a\nb").write_text("forges a line of the listing"),
        replace_by_link,
    ],
)
def test_a_folder_that_was_written_to_is_unpacked_again(
    tmp_path: Path, source: Source, change: Callable[[Path], object]
) -> None:
    folder = cached_environment(source.version, tmp_path / "cache", download=source.download)
    change(folder)

    cached_environment(source.version, tmp_path / "cache", download=source.download)

    found = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.*"))
    assert found == sorted(FILES)
    assert [(folder / name).read_text() for name in FILES] == list(FILES)
    assert not (folder / FILES[0]).is_symlink()
    assert (folder / FILES[0]).stat().st_mode & 0o111 == 0


def test_a_damaged_download_leaves_no_folder(tmp_path: Path, source: Source) -> None:
    def truncated(destination: Path) -> None:
        destination.write_bytes(source.archive.path.read_bytes()[:-1])

    with pytest.raises(InvalidEnvironment, match="The hub sent"):
        cached_environment(source.version, tmp_path / "cache", download=truncated)

    assert [path for path in (tmp_path / "cache" / "environments").iterdir() if path.is_dir()] == []


def test_what_is_just_being_made_is_neither_listed_nor_removed(
    tmp_path: Path, source: Source
) -> None:
    cache = tmp_path / "cache"
    seen = []

    def download(destination: Path) -> None:
        seen.extend(list_cache(cache))
        remove_leftovers(cache)
        source.download(destination)

    folder = cached_environment(source.version, cache, download=download)

    assert seen == []
    assert [entry.path for entry in list_cache(cache)] == [folder]


def test_what_a_killed_process_left_is_removed(tmp_path: Path, source: Source) -> None:
    folder = cached_environment(source.version, tmp_path / "cache", download=source.download)
    leftover = folder.with_name(f".{folder.name}-k1ll3d_x")
    (leftover / "archive").mkdir(parents=True)

    remove_leftovers(tmp_path / "cache")

    assert not leftover.exists()
    assert folder.is_dir()


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, source: Source) -> None:
    def meet_a_full_disk(destination: Path) -> None:
        destination.symlink_to("/dev/full")
        source.download(destination)

    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        cached_environment(source.version, tmp_path / "cache", download=meet_a_full_disk)

    assert [path for path in (tmp_path / "cache" / "environments").iterdir() if path.is_dir()] == []
    assert cached_environment(source.version, tmp_path / "cache", download=source.download).is_dir()
