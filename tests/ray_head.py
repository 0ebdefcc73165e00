"""A real Ray head on this machine, small, and ended by what it is, never by name."""

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from freesolo import processes
from tests.ports import free_port

_SECONDS = 120.0


@dataclass(frozen=True)
class RayHead:
    """A head that takes jobs for one CPU."""

    address: str
    record: Path
    process: subprocess.Popen[bytes]

    def kill(self) -> None:
        """End it as if its machine had lost its power, with everything it runs."""
        processes.stop_recorded(self.record, grace=0)
        self.process.wait()


@contextmanager
def ray_head(scripts: Path, settings: Mapping[str, str]) -> Iterator[RayHead]:
    """Run a head whose jobs find `settings` in their environment."""
    # Short: sockets lie in it, and their paths have room for about a hundred characters.
    with tempfile.TemporaryDirectory(prefix="ray", dir="/tmp") as folder:
        dashboard, log = free_port(), Path(folder, "head.log")
        process = processes.start(
            [
                str(scripts / "ray"),
                "start",
                "--head",
                "--block",
                f"--port={free_port()}",
                "--node-ip-address=127.0.0.1",
                "--dashboard-host=127.0.0.1",
                f"--dashboard-port={dashboard}",
                # Not those that every head takes: another may run at the same time.
                f"--dashboard-agent-listen-port={free_port()}",
                f"--ray-client-server-port={free_port()}",
                "--num-cpus=1",
                "--object-store-memory=80000000",
                f"--temp-dir={folder}/ray",
                "--disable-usage-stats",
            ],
            env={
                **os.environ,  # noqa: TID251 - handed on, not read
                **settings,
                "PATH": f"{scripts}:{os.environ['PATH']}",  # noqa: TID251
            },
            log=log,
            record=Path(folder, "head.json"),
        )
        head = RayHead(f"http://127.0.0.1:{dashboard}", Path(folder, "head.json"), process)
        try:
            _await_ready(head, log)
            yield head
        finally:
            head.kill()


def _await_ready(head: RayHead, log: Path) -> None:
    deadline = time.monotonic() + _SECONDS
    while True:
        try:
            httpx.get(f"{head.address}/api/version", trust_env=False).raise_for_status()
            return
        except httpx.HTTPError:
            assert head.process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
