import json
import os
import socket
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

from freesolo.runtime import guard
from freesolo.runtime.sandbox import machine_limits


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
