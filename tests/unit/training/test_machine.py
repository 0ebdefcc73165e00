"""How much memory a job may take."""

from pathlib import Path

import pytest

from freesolo.schemas.leases import TrainedOn
from freesolo.schemas.provenance import TrainingDevice
from training_backend.machine import Machine, find_machine, within_cgroup

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


def test_what_a_job_trains_on_is_told_for_estimates_and_in_the_origin_of_its_adapter() -> None:
    cpu = Machine("cpu-2", gpu=False, memory=4 * GB, free=GB, threads=2, instructions="AVX2")
    assert cpu.trained_on == TrainedOn(name="cpu-2", memory=4 * GB)
    assert cpu.origin == TrainingDevice(kind="cpu", instructions="AVX2", threads=2)
    gpu = Machine("NVIDIA H200", gpu=True, memory=141 * GB, free=GB, threads=16)
    assert gpu.trained_on == TrainedOn(name="NVIDIA H200", memory=141 * GB)
    assert gpu.origin == TrainingDevice(kind="NVIDIA H200", threads=16)


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
