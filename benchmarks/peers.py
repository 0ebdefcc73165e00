"""Servers that benchmarks measure side by side, and the programs of peers that are installed for it."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

_UV = Path(sys.executable).with_name("uv")
_BUILD = Path(__file__).parents[1] / "build"


def installed(name: str, pins: Path) -> Path:
    """Return the folder of the commands that a file of pins brings, installed if they are not."""
    folder = _BUILD / f"{name}-peers"
    programs, complete = folder / "bin", folder / "complete"
    if not complete.exists():
        subprocess.run([_UV, "venv", "--quiet", "--clear", folder], check=True)
        subprocess.run(
            [_UV, "pip", "install", "--quiet", "--python", programs / "python", "-r", pins],
            check=True,
        )
        complete.touch()
    return programs


@contextmanager
def running(command: Sequence[object], port: int, log: Path, **environment: str) -> Iterator[int]:
    """Run a server until the block ends; yield its process id once it listens."""
    with log.open("wb") as out:
        process = subprocess.Popen(
            [str(part) for part in command],
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment},  # noqa: TID251 - handed on, not read
        )
    try:
        deadline = time.monotonic() + 60
        while not listens(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{command[0]} does not start:\n{log.read_text()[-2000:]}")
            time.sleep(0.1)
        yield process.pid
    finally:
        process.terminate()
        process.wait()


def listens(port: int) -> bool:
    """Say whether somebody listens on a port of this machine."""
    with closing(socket.socket()) as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
