"""Virtual environments that cannot be made: what is missing, and what is left behind."""

from collections.abc import Callable
from pathlib import Path

import pytest

from freesolo.errors import EnvironmentFailed, FreesoloError, StorageFull, Unavailable
from freesolo.runtime import venvs
from freesolo.runtime.venvs import compile_pylock, ensure_venv

# Stands in for uv: runs a line of shell.
UseUv = Callable[[str], None]


@pytest.fixture
def use_uv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> UseUv:
    binary = tmp_path / "bin" / "uv"
    binary.parent.mkdir()
    monkeypatch.setattr(venvs, "find_uv_bin", lambda: str(binary))

    def use(line: str) -> None:
        binary.write_text(f"#!/bin/sh\n{line}\n")
        binary.chmod(0o755)

    return use


@pytest.mark.usefixtures("use_uv")
def test_a_missing_uv_is_named_with_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="uv, which makes virtual environments") as refusal:
        ensure_venv(tmp_path / "cache", ["six"])

    assert "install that again" in (refusal.value.hint or "")


@pytest.mark.usefixtures("use_uv")
def test_without_uv_no_packages_are_chosen_either() -> None:
    with pytest.raises(Unavailable, match="uv, which makes virtual environments"):
        compile_pylock(["six"], requires_python=">=3.11")


@pytest.mark.parametrize("command", ["venv", "pip"])
def test_a_full_disk_is_told_and_leaves_no_half_environment(
    tmp_path: Path, use_uv: UseUv, command: str
) -> None:
    use_uv(f'[ "$1" = {command} ] || exit 0; echo "No space left on device" >&2; exit 2')

    with pytest.raises(StorageFull, match="No space left on device"):
        ensure_venv(tmp_path / "cache", ["six"])

    assert [path for path in (tmp_path / "cache" / "venvs").iterdir() if path.is_dir()] == []


@pytest.mark.parametrize(("status", "error"), [(1, EnvironmentFailed), (2, Unavailable)])
def test_what_uv_says_is_passed_on(
    tmp_path: Path, use_uv: UseUv, status: int, error: type[FreesoloError]
) -> None:
    use_uv(f'[ "$1" = pip ] || exit 0; echo "six is at fault" >&2; exit {status}')

    with pytest.raises(error, match="six is at fault"):
        ensure_venv(tmp_path / "cache", ["six"])
