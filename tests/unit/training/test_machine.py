"""How much memory a job may take."""

from pathlib import Path

import pytest

from training_backend.machine import find_machine, within_cgroup

GB = 10**9


def cgroup(folder: Path, *, limit: str, used: int, inactive: int | None = None) -> Path:
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.current").write_text(f"{used}\n")
    if inactive is not None:
        (folder / "memory.stat").write_text(f"anon 1\ninactive_file {inactive}\nslab 2\n")
    return folder


def test_this_machine_has_memory_and_some_of_it_is_free() -> None:
    machine = find_machine()
    assert machine.name
    assert 0 < machine.free <= machine.memory


def test_a_container_has_what_its_limit_leaves(tmp_path: Path) -> None:
    limited = cgroup(tmp_path, limit=str(4 * GB), used=1 * GB)
    assert within_cgroup(24 * GB, 20 * GB, limited) == (4 * GB, 3 * GB)


def test_files_that_were_read_count_as_free(tmp_path: Path) -> None:
    limited = cgroup(tmp_path, limit=str(4 * GB), used=4 * GB, inactive=3 * GB)
    assert within_cgroup(24 * GB, 20 * GB, limited) == (4 * GB, 3 * GB)


def test_a_full_machine_has_no_more_than_is_free(tmp_path: Path) -> None:
    limited = cgroup(tmp_path, limit=str(4 * GB), used=0)
    assert within_cgroup(24 * GB, 1 * GB, limited) == (4 * GB, 1 * GB)


@pytest.mark.parametrize("limit", ["max", str(99 * GB)])
def test_without_a_limit_the_machine_is_what_counts(tmp_path: Path, limit: str) -> None:
    free = cgroup(tmp_path, limit=limit, used=0)
    assert within_cgroup(24 * GB, 20 * GB, free) == (24 * GB, 20 * GB)
    assert within_cgroup(24 * GB, 20 * GB, tmp_path / "none") == (24 * GB, 20 * GB)
