"""Virtual environments that cannot be made: what is missing, and what is left behind."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from freesolo.errors import EnvironmentFailed, FreesoloError, StorageFull, Unavailable
from freesolo.runtime import venvs
from freesolo.runtime.venvs import compile_pylock, ensure_venv

# Stands in for uv: makes what is taken for an interpreter, and runs a line of shell.
UseUv = Callable[[str], None]
MAKE = '[ "$1" != venv ] || { mkdir -p bin; touch bin/python; }'


@pytest.fixture
def use_uv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> UseUv:
    binary = tmp_path / "bin" / "uv"
    binary.parent.mkdir()
    monkeypatch.setattr(venvs, "find_uv_bin", lambda: str(binary))

    def use(line: str) -> None:
        binary.write_text(f"#!/bin/sh\n{MAKE}\n{line}\n")
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


def test_a_uv_that_is_killed_leaves_nothing(tmp_path: Path, use_uv: UseUv) -> None:
    use_uv("kill -9 $$")

    with pytest.raises(Unavailable, match="cannot be made"):
        ensure_venv(tmp_path / "cache", ["six"])

    assert [path for path in (tmp_path / "cache" / "venvs").iterdir() if path.is_dir()] == []


def test_callers_at_once_build_a_virtual_environment_once(tmp_path: Path, use_uv: UseUv) -> None:
    use_uv(f"echo $1 >> {tmp_path}/calls")
    callers = threading.Barrier(4)

    def ensure(_: int) -> Path:
        callers.wait()
        return ensure_venv(tmp_path / "cache", ["six"])

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(ensure, range(4)))) == 1

    assert (tmp_path / "calls").read_text().split() == ["venv", "pip"]


def test_what_a_killed_builder_left_is_neither_used_nor_kept(tmp_path: Path, use_uv: UseUv) -> None:
    use_uv("exit 0")
    whole = ensure_venv(tmp_path / "cache", ["six"]).parents[1]
    left = whole.with_name(f".{whole.name}-left")
    whole.rename(left)

    assert ensure_venv(tmp_path / "cache", ["six"]).parents[1] == whole
    assert not left.exists()


def test_a_damaged_virtual_environment_is_made_anew(tmp_path: Path, use_uv: UseUv) -> None:
    use_uv("exit 0")
    python = ensure_venv(tmp_path / "cache", ["six"])
    python.unlink()
    python.symlink_to(tmp_path / "removed")

    assert ensure_venv(tmp_path / "cache", ["six"]) == python
    assert python.is_file()
    assert [path.name for path in python.parents[2].iterdir() if path.is_dir()] == [
        python.parents[1].name
    ]


@pytest.mark.parametrize(
    "requirements", [["six==1.16.0", "six>1.16"], ["no-such-package-of-anyone"]]
)
def test_requirements_that_cannot_be_met_are_named(tmp_path: Path, requirements: list[str]) -> None:
    with pytest.raises(EnvironmentFailed, match="cannot be installed") as failure:
        ensure_venv(tmp_path / "cache", requirements)

    assert all(requirement in failure.value.message for requirement in requirements)
