"""up and down at their edges, and how the command ends when nobody reads; all else is acceptance."""

import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

from tests.component.cli.conftest import Freesolo


def test_one_port_for_two_services_is_refused(freesolo: Freesolo, tmp_path: Path) -> None:
    ports = ("--hub-port", "28499", "--gateway-port", "28499")
    refusal = freesolo("up", "--detach", "--data-dir", tmp_path / "data", *ports, "--json")
    assert (refusal.code, refusal.error["code"]) == (2, "invalid_input")
    assert "28499" in refusal.error["message"]


def test_a_port_in_use_is_named(freesolo: Freesolo, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refusal = freesolo(
            *("up", "--detach", "--data-dir", tmp_path / "data", "--hub-port", port, "--json")
        )
    assert (refusal.code, refusal.error["code"]) == (2, "invalid_port_in_use")
    assert str(port) in refusal.error["message"]


def test_the_data_folder_is_its_owners_alone(freesolo: Freesolo, tmp_path: Path) -> None:
    ports = ("--hub-port", "28499", "--gateway-port", "28499")
    freesolo("up", "--detach", "--data-dir", tmp_path / "made" / "data", *ports)
    assert stat.S_IMODE((tmp_path / "made" / "data").stat().st_mode) == 0o700


def test_down_where_nothing_runs_is_no_error(freesolo: Freesolo, tmp_path: Path) -> None:
    result = freesolo("down", "--data-dir", tmp_path / "data", "--json")
    assert result.code == 0
    assert result.document["stopped"] is False


def test_output_that_nobody_reads_ends_the_command_quietly(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as nobody:
        result = subprocess.run(
            [sys.executable, "-m", "freesolo", "init", "dates"],
            cwd=tmp_path,
            stdout=nobody,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert result.returncode == 141
    assert "Traceback" not in result.stderr
