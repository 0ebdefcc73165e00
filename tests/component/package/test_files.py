import os
from pathlib import Path

import pytest

from freesolo.errors import InvalidEnvironment, InvalidManifest, InvalidRef
from freesolo.package.files import collect_files, has_manifest, load_manifest


def fill(folder: Path, *paths: str) -> None:
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text("")


def test_what_is_never_packed_is_left_out(tmp_path: Path) -> None:
    fill(
        tmp_path,
        "environment.py",
        "dataset/train.jsonl",
        ".env",
        ".env.local",
        ".git/config",
        "__pycache__/a.pyc",
        "deep/__pycache__/b.pyc",
        ".venv/bin/python",
        "id_rsa",
        "cert.pem",
    )

    assert collect_files(tmp_path) == ["dataset/train.jsonl", "environment.py"]


def test_the_authors_ignore_files_are_heeded(tmp_path: Path) -> None:
    fill(tmp_path, "environment.py", "a.log", "b.log", "scratch/x", "notes.md")
    (tmp_path / ".gitignore").write_text("*.log\n!b.log\n")
    (tmp_path / ".freesoloignore").write_text("scratch/\n.gitignore\n.freesoloignore\n")

    assert collect_files(tmp_path) == ["b.log", "environment.py", "notes.md"]


def test_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc/hostname")

    with pytest.raises(InvalidEnvironment, match="'link' is a link"):
        collect_files(tmp_path)


def test_an_ignored_link_is_nobodys_business(tmp_path: Path) -> None:
    (tmp_path / ".venv").symlink_to("/usr")

    assert collect_files(tmp_path) == []


def test_a_name_that_is_not_utf8_is_refused_unless_ignored(tmp_path: Path) -> None:
    with open(os.fsencode(tmp_path) + b"/caf\xe9", "w"):  # noqa: PTH123 - a path in bytes
        pass

    with pytest.raises(InvalidEnvironment, match="is not UTF-8"):
        collect_files(tmp_path)
    (tmp_path / ".gitignore").write_bytes(b"caf\xe9\n.gitignore\n")
    assert collect_files(tmp_path) == []


def test_a_folder_with_a_manifest_names_itself(tmp_path: Path) -> None:
    (tmp_path / "environment.toml").write_text('[environment]\nname = "task"\nversion = "2.0"\n')

    assert has_manifest(tmp_path)
    assert load_manifest(tmp_path).version == "2.0"
    with pytest.raises(InvalidManifest, match="'other' is not the name"):
        load_manifest(tmp_path, name="other")


def test_a_folder_without_a_manifest_needs_a_name(tmp_path: Path) -> None:
    manifest = load_manifest(tmp_path, name="task")

    assert (manifest.name, manifest.version) == ("task", "0.1.0")
    assert not has_manifest(tmp_path)
    with pytest.raises(InvalidManifest, match=r"no environment\.toml"):
        load_manifest(tmp_path)
    with pytest.raises(InvalidRef, match="'my task' cannot name"):
        load_manifest(tmp_path, name="my task")
