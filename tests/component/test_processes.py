"""Child processes: ended with all their descendants, and never anybody else's."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from freesolo import processes

# A leader with a child that ignores SIGTERM, as an engine's workers may.
FAMILY = """
import signal, subprocess, sys, time
stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
child = subprocess.Popen([sys.executable, "-c", stubborn], stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture
def record(tmp_path: Path) -> Path:
    return tmp_path / "run" / "child.json"


@pytest.fixture
def family(tmp_path: Path, record: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A recorded leader and the process id of its child, both alive."""
    log = tmp_path / "child.log"
    leader = processes.start(
        [sys.executable, "-c", FAMILY], env={"PATH": "/usr/bin"}, log=log, record=record
    )
    deadline = time.monotonic() + 20
    while not (text := log.read_text()).strip() and time.monotonic() < deadline:
        os.sched_yield()
    yield leader, int(text)
    processes.stop_recorded(record, grace=0.1)
    leader.wait()


def test_the_whole_session_is_ended(
    family: tuple[subprocess.Popen[bytes], int], record: Path
) -> None:
    leader, child = family
    assert processes.is_running(record)
    processes.stop_recorded(record, grace=0.5)
    leader.wait()
    assert not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE
    assert not record.exists()


def test_descendants_of_a_killed_leader_are_found(
    family: tuple[subprocess.Popen[bytes], int], record: Path
) -> None:
    leader, child = family
    leader.kill()
    leader.wait()
    assert psutil.pid_exists(child)
    assert processes.is_running(record)
    processes.stop_recorded(record, grace=0.5)
    assert not processes.is_running(record)


def test_a_process_id_that_was_given_to_somebody_else_is_left_alone(
    family: tuple[subprocess.Popen[bytes], int], record: Path
) -> None:
    leader, _ = family
    entry = json.loads(record.read_text())
    stale = record.with_name("stale.json")
    stale.write_text(json.dumps({**entry, "started": entry["started"] - 1000}))
    assert not processes.is_running(stale)
    processes.stop_recorded(stale, grace=0.1)
    assert leader.poll() is None
    assert processes.find_process(stale) is None


def test_a_record_of_another_boot_ends_nothing(
    family: tuple[subprocess.Popen[bytes], int], record: Path
) -> None:
    entry = json.loads(record.read_text())
    stale = record.with_name("stale.json")
    stale.write_text(json.dumps({**entry, "boot": "another"}))
    processes.stop_recorded(stale, grace=0.1)
    assert family[0].poll() is None


@pytest.mark.parametrize("content", ["", "{", "[]", '{"session": 1}'])
def test_a_half_written_record_ends_nothing(record: Path, content: str) -> None:
    record.parent.mkdir()
    record.write_text(content)
    assert not processes.is_running(record)
    processes.stop_recorded(record, grace=0.1)
    assert not record.exists()


def test_stopping_one_process_leaves_its_session_alone(
    family: tuple[subprocess.Popen[bytes], int], record: Path
) -> None:
    leader, child = family
    assert processes.stop_process(record, grace=5)
    leader.wait()
    assert psutil.pid_exists(child)


def test_a_record_is_replaced_in_one_step(record: Path) -> None:
    processes.write_record(record, os.getpid())
    held = record.open()
    processes.write_record(record, os.getpid())
    with held:
        assert json.loads(held.read()) == json.loads(record.read_text())
    assert [path.name for path in record.parent.iterdir()] == [record.name]


@pytest.mark.skipif(not psutil.LINUX, reason="elsewhere start times are times of day")
def test_a_record_holds_no_time_of_day_so_that_setting_the_clock_hides_nothing(
    record: Path,
) -> None:
    processes.write_record(record, os.getpid())
    entry = json.loads(record.read_text())
    since_boot = time.clock_gettime(time.CLOCK_BOOTTIME)
    assert 0 < entry["started"] <= since_boot + 1
    assert str(int(psutil.boot_time())) not in record.read_text()
    found = processes.find_process(record)
    assert found is not None
    assert found.pid == os.getpid()


def test_a_child_beside_us_is_ended_with_its_descendants(tmp_path: Path) -> None:
    log = tmp_path / "beside.log"
    child = processes.start_beside(
        [sys.executable, "-c", FAMILY], env={"PATH": "/usr/bin"}, log=log
    )
    deadline = time.monotonic() + 20
    while not (text := log.read_text()).strip() and time.monotonic() < deadline:
        os.sched_yield()
    grandchild = int(text)
    # Who ends our session ends it too.
    assert os.getsid(child.pid) == os.getsid(0)
    processes.stop_tree(child, grace=5)
    assert child.returncode is not None
    assert not psutil.pid_exists(grandchild) or (
        psutil.Process(grandchild).status() == psutil.STATUS_ZOMBIE
    )
