"""Archives: reproducible when we build them, and whole when they are unpacked."""

from pathlib import Path

import pytest

from freesolo.domain.packaging import ENVIRONMENT_LIMITS
from freesolo.errors import InvalidEnvironment
from freesolo.package.archive import Archive, build_archive, inspect_archive, unpack_archive

PATHS = ("environment.py", "dataset/train.jsonl", "run.sh")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "environment"
    (root / "dataset").mkdir(parents=True)
    (root / "environment.py").write_text("print(1)\n")
    (root / "dataset" / "train.jsonl").write_text('{"input": "a"}\n')
    (root / "run.sh").write_text("#!/bin/sh\n")
    (root / "run.sh").chmod(0o755)
    return root


def build(folder: Path, name: str = "a.tar.zst") -> Archive:
    return build_archive(folder, PATHS, folder.parent / name)


def test_the_same_files_give_the_same_bytes_and_digest(folder: Path) -> None:
    first = build(folder, "first")
    (folder / "environment.py").touch()
    second = build(folder, "second")
    assert first.path.read_bytes() == second.path.read_bytes()
    assert first.tree_digest == second.tree_digest


def test_what_was_packed_comes_out_again(folder: Path, tmp_path: Path) -> None:
    archive = build(folder)
    out = tmp_path / "out"
    unpack_archive(archive.path, out, ENVIRONMENT_LIMITS, expect_tree=archive.tree_digest)
    assert (out / "environment.py").read_text() == "print(1)\n"
    assert (out / "run.sh").stat().st_mode & 0o777 == 0o755
    assert build_archive(out, PATHS, tmp_path / "again").tree_digest == archive.tree_digest


def test_inspecting_keeps_only_what_was_asked_for(folder: Path) -> None:
    contents = inspect_archive(build(folder).path, ENVIRONMENT_LIMITS, ["environment.py", "none"])
    assert contents.kept == {"environment.py": b"print(1)\n"}
    assert {file.path for file in contents.files} == set(PATHS)


def test_another_tree_than_expected_leaves_no_folder(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidEnvironment, match="was expected"):
        unpack_archive(
            build(folder).path,
            tmp_path / "out",
            ENVIRONMENT_LIMITS,
            expect_tree="sha256:" + "0" * 64,
        )
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".out*"))


def test_a_folder_that_another_process_completed_is_kept(folder: Path, tmp_path: Path) -> None:
    archive = build(folder)
    unpack_archive(archive.path, tmp_path / "out", ENVIRONMENT_LIMITS)
    (tmp_path / "out" / "mark").touch()
    unpack_archive(archive.path, tmp_path / "out", ENVIRONMENT_LIMITS)
    assert (tmp_path / "out" / "mark").exists()


def test_a_truncated_archive_is_refused(folder: Path) -> None:
    archive = build(folder)
    archive.path.write_bytes(archive.path.read_bytes()[:-20])
    with pytest.raises(InvalidEnvironment):
        inspect_archive(archive.path, ENVIRONMENT_LIMITS)
