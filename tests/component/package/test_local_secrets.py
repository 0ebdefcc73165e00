"""Secrets from the shell and from `.env` files."""

from pathlib import Path

import pytest

from freesolo.errors import InvalidSecret, SecretMissing
from freesolo.package.local_secrets import find_secrets, gather_secret, gather_secrets


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with both files, of which each has a key of its own and one that is in all places."""
    monkeypatch.setenv("SHARED_KEY", "of the shell")
    monkeypatch.setenv("SHELL_KEY", "of the shell")
    (tmp_path / ".env.local").write_text("SHARED_KEY=of .env.local\nLOCAL_KEY=of .env.local\n")
    (tmp_path / ".env").write_text("SHARED_KEY=of .env\nLOCAL_KEY=of .env\nFILE_KEY=of .env\n")
    return tmp_path


def test_the_shell_comes_before_env_local_and_that_before_env(folder: Path) -> None:
    names = ["FILE_KEY", "LOCAL_KEY", "SHARED_KEY", "SHELL_KEY"]
    found = find_secrets([*names, "OTHER_KEY"], folder)
    assert {name: secret.source for name, secret in found.items()} == {
        "FILE_KEY": ".env",
        "LOCAL_KEY": ".env.local",
        "SHARED_KEY": "the shell",
        "SHELL_KEY": "the shell",
    }
    assert all(secret.value == f"of {secret.source}" for secret in found.values())


def test_only_what_is_asked_for_is_read_out(folder: Path) -> None:
    assert gather_secrets(["FILE_KEY"], folder) == {"FILE_KEY": "of .env"}


def test_what_is_set_nowhere_is_named_with_the_ways_to_set_it(folder: Path) -> None:
    with pytest.raises(SecretMissing, match="A_KEY, B_KEY") as raised:
        gather_secrets(["B_KEY", "FILE_KEY", "A_KEY"], folder)
    assert ".env.local" in str(raised.value.hint)


def test_one_that_is_asked_for_by_name_is_nothing_that_an_environment_declares(
    folder: Path,
) -> None:
    assert gather_secret("FILE_KEY", folder) == "of .env"
    with pytest.raises(SecretMissing, match="MY_KEY is not set") as raised:
        gather_secret("MY_KEY", folder)
    assert "environment" not in str(raised.value.to_wire())


def test_a_value_in_place_of_a_name_is_not_repeated(folder: Path) -> None:
    with pytest.raises(InvalidSecret) as raised:
        gather_secret("sk-12", folder)
    assert "sk-12" not in str(raised.value.to_wire())


def test_what_is_set_to_nothing_is_not_set(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FILE_KEY", "")
    assert find_secrets(["FILE_KEY"], folder)["FILE_KEY"].source == ".env"


def test_a_folder_without_files_has_what_the_shell_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHELL_KEY", "x")
    assert gather_secrets(["SHELL_KEY"], tmp_path) == {"SHELL_KEY": "x"}


def test_values_are_read_as_dotenv_files_are_written(tmp_path: Path) -> None:
    lines = [
        "export EXPORTED=a#b",
        "QUOTED='two words'  # the rest is a comment",
        r'ESCAPED="a\nb"',
        'PEM="-----BEGIN-----',
        'abc"',
        "BARE",
    ]
    (tmp_path / ".env").write_text("\ufeff" + "\n".join(lines))
    names = ["EXPORTED", "QUOTED", "ESCAPED", "PEM", "BARE"]
    assert {name: secret.value for name, secret in find_secrets(names, tmp_path).items()} == {
        "EXPORTED": "a#b",
        "QUOTED": "two words",
        "ESCAPED": "a\nb",
        "PEM": "-----BEGIN-----\nabc",
    }


def test_no_other_variable_is_brought_in_by_a_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FREESOLO_API_KEY", "fslo_")
    (tmp_path / ".env").write_text("JUDGE_API_KEY=a${FREESOLO_API_KEY}$FREESOLO_API_KEY")
    found = gather_secrets(["JUDGE_API_KEY"], tmp_path)
    assert found == {"JUDGE_API_KEY": "a${FREESOLO_API_KEY}$FREESOLO_API_KEY"}


@pytest.mark.parametrize("content", [b"KEY=\xff\xfe", b"#" * ((1 << 20) + 1)])
def test_a_file_that_is_no_dotenv_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / ".env.local").write_bytes(content)
    with pytest.raises(InvalidSecret, match=r"\.env\.local"):
        find_secrets(["KEY"], tmp_path)


def test_a_file_that_is_not_needed_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_bytes(b"\xff")
    monkeypatch.setenv("SHELL_KEY", "x")
    assert find_secrets([], tmp_path) == {}
    assert gather_secrets(["SHELL_KEY"], tmp_path) == {"SHELL_KEY": "x"}


def test_a_value_that_cannot_be_handed_on_is_named_by_its_place(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"JUDGE_API_KEY={'x' * 20_000}")
    with pytest.raises(InvalidSecret, match=r"JUDGE_API_KEY from \.env: .* larger") as raised:
        find_secrets(["JUDGE_API_KEY"], tmp_path)
    assert "xx" not in str(raised.value)


def test_a_shown_secret_does_not_show_its_value(folder: Path) -> None:
    assert "of .env" not in repr(find_secrets(["FILE_KEY"], folder))
