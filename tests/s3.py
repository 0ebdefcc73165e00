"""A real S3 server for tests: one-node Ceph with its RADOS gateway, all in a folder and in memory.

Every daemon stays in the foreground as a child of ours and ends with the session.
"""

import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
from pydantic import SecretStr
from tenacity import retry, stop_after_attempt, stop_after_delay, wait_fixed

from hub_server.blobs.s3 import connect
from hub_server.settings import HubSettings
from tests.ports import free_port

ACCESS_KEY = "tests"
SECRET_KEY = "not-a-secret"
# Each step takes a fraction of a second, or hangs.
_PATIENCE = 12
_BINARIES = ("ceph", "ceph-mon", "ceph-osd", "monmaptool", "radosgw", "radosgw-admin")

_CONFIG = """\
[global]
fsid = {fsid}
mon host = [v1:127.0.0.1:{mon_port}]
auth cluster required = none
auth service required = none
auth client required = none
run dir = {folder}
admin socket = {folder}/$name.asok
log file = {folder}/$name.log
pid file =
ms bind ipv6 = false
public addr = 127.0.0.1
cluster addr = 127.0.0.1
# One copy of everything, on one node, in memory.
osd objectstore = memstore
memstore device bytes = 4294967296
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pgp num = 1
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
# We place it ourselves: at its own start it may not know the cluster's id yet, and gives up.
osd crush update on start = false
osd class update on start = false
mon warn on pool no redundancy = false
mon data avail crit = 1
# A lone monitor need not wait to hear whether others agree.
paxos propose interval = 0.05
paxos min wait = 0.01
[mon.a]
mon data = {folder}/mon
[osd.0]
osd data = {folder}/osd
[client.rgw]
rgw frontends = beast endpoint=127.0.0.1:{port} tcp_nodelay=1
rgw num control oids = 1
rgw bucket index max shards = 1
rgw gc max objs = 1
rgw lc max objs = 1
"""


def is_installed() -> bool:
    """Say whether Ceph's programs are on this machine."""
    return all(shutil.which(binary) for binary in _BINARIES)


@contextmanager
def s3_server() -> Iterator[str]:
    """Run a store until the block ends and yield its address.

    Its key is `ACCESS_KEY`, `SECRET_KEY`.
    """
    with ExitStack() as running:
        yield _start(running)


def settings_of_new_bucket(endpoint: str) -> dict[str, object]:
    """Make a bucket and return the hub's settings that name it."""
    changes: dict[str, object] = {
        "s3_bucket": f"tests-{uuid.uuid4().hex[:12]}",
        "s3_endpoint": endpoint,
        "s3_access_key": ACCESS_KEY,
        "s3_secret_key": SecretStr(SECRET_KEY),
    }
    client = connect(HubSettings().model_copy(update=changes))
    client.create_bucket(Bucket=changes["s3_bucket"])
    return changes


# Should one of its processes hang, another try in a fresh folder does better.
@retry(stop=stop_after_attempt(3), reraise=True)
def _start(running: ExitStack) -> str:
    with ExitStack() as attempt:
        # A short path: the one of a Unix socket has at most 107 characters.
        folder = Path(tempfile.mkdtemp(prefix="rgw"))
        attempt.callback(shutil.rmtree, folder, ignore_errors=True)
        cluster = _Cluster(folder, attempt)
        cluster.start()
        running.push(attempt.pop_all())
    return cluster.endpoint


class _Cluster:
    """A monitor, an object store daemon and a gateway in one folder."""

    def __init__(self, folder: Path, running: ExitStack) -> None:
        self._folder = folder
        self._running = running
        self._config = folder / "ceph.conf"
        self._mon_port = free_port()
        self._port = free_port()

    @property
    def endpoint(self) -> str:
        """The gateway's address."""
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Start everything and make the key."""
        fsid = str(uuid.uuid4())
        self._config.write_text(
            _CONFIG.format(fsid=fsid, mon_port=self._mon_port, folder=self._folder, port=self._port)
        )
        for daemon in ("mon", "osd"):
            (self._folder / daemon).mkdir()
        monmap = str(self._folder / "monmap")
        address = f"[v1:127.0.0.1:{self._mon_port}]"
        self._run("monmaptool", "--create", "--addv", "a", address, "--fsid", fsid, monmap)
        self._run("ceph-mon", "--mkfs", "-i", "a", "--monmap", monmap)
        self._daemon("ceph-mon", "-i", "a")
        osd = str(uuid.uuid4())
        self._run("ceph", "osd", "new", osd)
        self._run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", osd)
        self._daemon("ceph-osd", "-i", "0")
        self._run("ceph", "osd", "crush", "add", "osd.0", "1", "host=here", "root=default")
        self._run(
            *("radosgw-admin", "user", "create", "--uid", "tests", "--display-name", "tests"),
            *("--access-key", ACCESS_KEY, "--secret-key", SECRET_KEY),
        )
        self._daemon("radosgw", "-n", "client.rgw")
        self._wait()

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [program, *arguments],
            cwd=self._folder,
            # All of them read it, but `monmaptool` refuses `-c`.
            env={"PATH": os.defpath, "CEPH_CONF": str(self._config)},
            check=True,
            timeout=_PATIENCE,
            capture_output=True,
        )

    def _daemon(self, program: str, *arguments: str) -> None:
        process = subprocess.Popen(
            [program, "-f", *arguments],
            cwd=self._folder,
            env={"PATH": os.defpath, "CEPH_CONF": str(self._config)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._running.callback(process.wait)
        # Nothing in it is worth a slow farewell.
        self._running.callback(process.kill)

    @retry(stop=stop_after_delay(_PATIENCE), wait=wait_fixed(0.1), reraise=True)
    def _wait(self) -> None:
        httpx.get(self.endpoint, trust_env=False)
