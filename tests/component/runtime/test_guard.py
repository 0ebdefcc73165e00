import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from freesolo.runtime import guard
from freesolo.runtime.guard import Scratch
from freesolo.runtime.sandbox import machine_limits

# In a namespace of its own: fills a folder for temporary files, mounts another in it, removes it.
MOUNTED = """
import ctypes, sys
from pathlib import Path
from freesolo.runtime.guard import Scratch

path, other = map(Path, sys.argv[1:])
scratch = Scratch(path)
(path / "x" / "mounted").mkdir(parents=True)
(path / "x" / "file").touch()
source, target = (str(place).encode() for place in (other, path / "x" / "mounted"))
assert ctypes.CDLL(None).mount(source, target, None, 4096, None) == 0
scratch.remove()
assert [place.name for place in path.rglob("*") if place.is_file()] == ["kept"]
"""


def report_on(folder: Path, *, scratch: Path) -> dict[str, object]:
    """Have a guard run a program that does nothing, and return its report."""
    ours, guards = socket.socketpair()
    connection, its = socket.socketpair()
    order = {
        "command": ["/bin/true"],
        "env": {},
        "folder": str(folder),
        "connection": its.fileno(),
        "scratch": str(scratch),
        **asdict(machine_limits()),
    }
    command = [sys.executable, guard.__file__, str(guards.fileno()), str(os.getpid())]
    with ours, connection, guards, its:
        process = subprocess.Popen(command, pass_fds=[guards.fileno(), its.fileno()])
        guards.close()
        ours.sendall(json.dumps(order).encode() + b"\n")
        with ours.makefile("rb") as said:
            report: dict[str, object] = json.load(said)
        process.wait()
    return report


def test_a_guard_makes_a_folder_and_removes_it(tmp_path: Path) -> None:
    report = report_on(tmp_path, scratch=tmp_path / "scratch")

    assert report == {"status": 0, "breach": None, "printed": ""}
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_was_there_before_is_neither_used_nor_removed(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.touch()

    report = report_on(tmp_path, scratch=tmp_path)

    assert report["breach"] == "start"
    assert kept.exists()


def test_only_the_folder_that_was_made_is_emptied_whatever_lies_at_its_path(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path / "scratch")
    (scratch.path / "file").touch()
    scratch.path.rename(tmp_path / "moved")
    scratch.path.mkdir()
    (scratch.path / "kept").touch()

    scratch.remove()

    assert sorted(path.name for path in tmp_path.rglob("*")) == ["kept", "moved", "scratch"]


def test_a_folder_is_removed_however_deep_it_is(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path / "scratch")
    folder = os.open(scratch.path, os.O_RDONLY)
    for _ in range(1_200):
        os.mkdir("folder", dir_fd=folder)
        inner = os.open("folder", os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = inner
    os.close(folder)

    scratch.remove()

    assert list(tmp_path.iterdir()) == []


def test_links_are_removed_and_not_followed(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    (kept / "folder").mkdir(parents=True)
    scratch = Scratch(tmp_path / "scratch")
    (scratch.path / "link").symlink_to(kept)

    scratch.remove()

    assert [path.name for path in tmp_path.rglob("*")] == ["kept", "folder"]


def test_what_is_mounted_into_a_folder_is_left_alone(tmp_path: Path) -> None:
    unshare = ["unshare", "--user", "--map-root-user", "--mount"]
    if not shutil.which("unshare") or subprocess.run([*unshare, "true"], check=False).returncode:
        pytest.skip("no namespaces here")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "kept").touch()

    command = [sys.executable, "-c", MOUNTED, str(tmp_path / "scratch"), str(tmp_path / "other")]
    subprocess.run([*unshare, *command], check=True)

    assert (tmp_path / "other" / "kept").exists()


def test_the_folder_of_a_killed_guard_is_removed(tmp_path: Path) -> None:
    (tmp_path / "left" / "folder").mkdir(parents=True)

    guard.remove_left_over(tmp_path / "left")

    assert list(tmp_path.iterdir()) == []


def test_a_link_in_place_of_the_folder_of_a_killed_guard_leads_nowhere(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").touch()
    (tmp_path / "left").symlink_to(kept)

    guard.remove_left_over(tmp_path / "left")

    assert (kept / "file").exists()


def test_a_process_that_has_the_number_of_a_descendant_is_not_signalled() -> None:
    with subprocess.Popen(["sleep", "60"]) as parent, subprocess.Popen(["sleep", "60"]) as other:
        sent = guard.signal_child(other.pid, parent.pid, signal.SIGKILL)
        alive = other.poll() is None
        for process in (parent, other):
            process.kill()

    assert not sent
    assert alive
