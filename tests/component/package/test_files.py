import os
from pathlib import Path

import pytest

from freesolo.errors import InvalidEnvironment, InvalidManifest, InvalidRef
from freesolo.package.files import (
    collect_files,
    has_manifest,
    load_manifest,
    select_files,
    write_version,
)


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


def test_what_stays_out_is_told_with_the_rule_that_says_so(tmp_path: Path) -> None:
    fill(tmp_path, "environment.py", "a.log", ".idea/x", "deep/.env", "deep/b.csv", ".gitignore")
    (tmp_path / ".gitignore").write_text("\n# logs\n*.log\n")
    (tmp_path / "deep/.freesoloignore").write_text("*.csv\n")
    os.mkfifo(tmp_path / "pipe")

    assert {item.path: item.rule for item in select_files(tmp_path).left_out} == {
        "a.log": "`*.log`, .gitignore",
        ".idea/": "`.idea/`, by default",
        "deep/.env": "`.env`, never packed",
        "deep/b.csv": "`*.csv`, deep/.freesoloignore",
        "pipe": "not a regular file",
    }


def test_an_ignore_file_takes_back_what_an_outer_one_says(tmp_path: Path) -> None:
    fill(tmp_path, "a/keep.log", "b/other.log", "node_modules/x", ".env.example")
    (tmp_path / ".gitignore").write_text("*.log\n!node_modules/\n.freesoloignore\n.gitignore\n")
    (tmp_path / "a/.freesoloignore").write_text("!keep.log\n")

    assert collect_files(tmp_path) == [".env.example", "a/keep.log", "node_modules/x"]


def test_nothing_takes_back_what_is_never_packed(tmp_path: Path) -> None:
    fill(tmp_path, ".env", "server.KEY", "x")
    (tmp_path / ".gitignore").write_text("!.env\n!*.KEY\n.gitignore\n")

    assert collect_files(tmp_path) == ["x"]


def test_the_packed_files_are_told_with_their_sizes(tmp_path: Path) -> None:
    (tmp_path / "b").write_text("12345")
    (tmp_path / "a").write_text("123")

    selection = select_files(tmp_path)

    assert [(file.path, file.size) for file in selection.packed] == [("a", 3), ("b", 5)]
    assert selection.size == 8


def test_a_version_is_written_and_the_rest_of_the_manifest_stays(tmp_path: Path) -> None:
    written = '# Mine.\r\n[environment]\r\nname = "task"  # short\r\nversion = "0.1.0"\r\n'
    path = tmp_path / "environment.toml"
    path.write_bytes(written.encode())

    write_version(tmp_path, "0.2.0")

    assert path.read_bytes().decode() == written.replace("0.1.0", "0.2.0")
    assert list(tmp_path.iterdir()) == [path]


def test_a_manifest_without_a_version_gets_one(tmp_path: Path) -> None:
    (tmp_path / "environment.toml").write_text('[environment]\nname = "task"\n')

    write_version(tmp_path, "1.0")

    assert load_manifest(tmp_path).version == "1.0"


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
    assert [item.path for item in select_files(tmp_path).left_out] == [".gitignore", "caf\ufffd"]


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
