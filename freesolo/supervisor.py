"""`freesolo up`: start the platform's processes on this machine, watch them, stop them.

Everything a platform owns lies in its data folder: the hub's database and blobs, the processes'
logs (`logs/`), who is running (`run/`), and the keys the processes use among themselves
(`hub/services.json`, for the owner only). There is no business rule here.
"""

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import NoReturn

import httpx
from filelock import FileLock, Timeout

from freesolo import processes
from freesolo.client.hub import HubClient
from freesolo.config import CredentialStore, Profile, write_private
from freesolo.errors import (
    AlreadyRunning,
    FreesoloError,
    InvalidInput,
    PortInUse,
    StorageFull,
    Unauthorized,
    Unavailable,
)

logger = logging.getLogger(__name__)

ORG = "local"
_HOST = "127.0.0.1"
_READY_SECONDS = 60.0
_POLL_SECONDS = 0.1
_GRACE_SECONDS = 30.0
# A process that dies at once is started again ever more slowly, up to this.
_MAX_BACKOFF_SECONDS = 30.0
_STABLE_SECONDS = 60.0


@dataclass(frozen=True)
class Platform:
    """Where a platform's data is and where it listens."""

    data_dir: Path
    hub_port: int
    gateway_port: int
    cache_dir: Path

    @property
    def hub_url(self) -> str:
        """Address of the hub."""
        return f"http://{_HOST}:{self.hub_port}"

    @property
    def gateway_url(self) -> str:
        """Address of the gateway, without `/v1`."""
        return f"http://{_HOST}:{self.gateway_port}"

    @property
    def run_dir(self) -> Path:
        """Where the records of running processes are."""
        return self.data_dir / "run"

    @property
    def logs_dir(self) -> Path:
        """Where the processes' output goes."""
        return self.data_dir / "logs"

    def make_folders(self) -> None:
        """Make the data folder and that of the logs, for the owner only."""
        for folder in (self.data_dir, self.logs_dir):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def settings(self) -> dict[str, str]:
        """Return the settings of all its processes, as environment variables."""
        return {
            "PYTHONUNBUFFERED": "1",
            "FREESOLO_SERVER_DATA_DIR": str(self.data_dir / "hub"),
            "FREESOLO_SERVER_HOST": _HOST,
            "FREESOLO_SERVER_PORT": str(self.hub_port),
            "FREESOLO_SERVER_GATEWAY_URL": self.gateway_url,
            # Whoever asks sits at the machine.
            "FREESOLO_SERVER_MODEL_PATHS": "true",
            "FREESOLO_TRAIN_HUB_URL": self.hub_url,
            "FREESOLO_TRAIN_WORK_DIR": str(self.data_dir / "worker"),
            "FREESOLO_TRAIN_CACHE_DIR": str(self.cache_dir),
            "FREESOLO_SERVE_HUB_URL": self.hub_url,
            "FREESOLO_SERVE_HOST": _HOST,
            "FREESOLO_SERVE_PORT": str(self.gateway_port),
            "FREESOLO_SERVE_DATA_DIR": str(self.data_dir / "gateway"),
            "FREESOLO_SERVE_CACHE_DIR": str(self.cache_dir),
        }


@dataclass(frozen=True)
class Ready:
    """What `up` tells once the platform answers."""

    hub_url: str
    gateway_url: str
    api_key: str
    data_dir: str


@dataclass(frozen=True)
class ServiceKeys:
    """The keys by which worker and gateway know each other's hub."""

    worker: str
    gateway: str


@contextmanager
def running(
    platform: Platform, credentials: CredentialStore, environ: Mapping[str, str]
) -> Iterator["Supervisor"]:
    """Run a platform for as long as the block lasts.

    Raise `AlreadyRunning` if another `up` has this data folder, and `PortInUse`.
    """
    if platform.hub_port == platform.gateway_port:
        raise InvalidInput(
            f"Hub and gateway cannot both listen on port {platform.hub_port}.",
            hint="`--hub-port` and `--gateway-port` choose two.",
        )
    platform.make_folders()
    lock = FileLock(platform.data_dir / "up.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise AlreadyRunning(
            f"A platform already runs on {platform.data_dir}.",
            hint=f"`freesolo down --data-dir {platform.data_dir}` stops it.",
        ) from None
    record = platform.run_dir / "supervisor.json"
    supervisor = Supervisor(platform, environ)
    try:
        # First of all, so that `down` finds us whatever we are doing.
        processes.write_record(record, os.getpid())
        stop_leftovers(platform.data_dir)
        for port in (platform.hub_port, platform.gateway_port):
            check_port(port)
        supervisor.start(credentials)
        yield supervisor
    finally:
        _ignore_signals()
        supervisor.stop()
        record.unlink(missing_ok=True)
        lock.release()


class Administration:
    """The hub's own commands, run on a platform's data as its owner may."""

    def __init__(self, platform: Platform, environ: Mapping[str, str]) -> None:
        self._platform = platform
        self._env = {**environ, **platform.settings()}

    def migrate(self) -> None:
        """Bring the hub's database up to date; the first time, make it."""
        self._run("migrate")

    def service_keys(self) -> "ServiceKeys":
        """Return the keys of the platform's own processes; the first time, make them."""
        # Beside the database that knows them, so that one is not removed without the other.
        path = self._platform.data_dir / "hub" / "services.json"
        if path.exists():
            return ServiceKeys(**json.loads(path.read_text()))
        keys = ServiceKeys(
            worker=self._create_key("--name", "worker", "--scope", "worker"),
            gateway=self._create_key("--name", "gateway", "--scope", "gateway"),
        )
        write_private(path, json.dumps(asdict(keys)))
        return keys

    def user_key(self, credentials: CredentialStore) -> str:
        """Return this user's key: the stored one if it still works, else a new one, stored now."""
        known = credentials.find_platform(self._platform.data_dir)
        key = known.api_key if known and self._accepts(known.api_key) else None
        if key is None:
            key = self._create_key("--org", ORG, "--name", "freesolo up")
        credentials.save(
            Profile(self._platform.hub_url, api_key=key, data_dir=str(self._platform.data_dir))
        )
        return key

    def _create_key(self, *arguments: str) -> str:
        return str(json.loads(self._run("create-key", *arguments))["api_key"])

    def _accepts(self, key: str) -> bool:
        try:
            with HubClient(self._platform.hub_url, key) as hub:
                hub.whoami()
        except Unauthorized:
            return False
        return True

    def _run(self, *arguments: str) -> str:
        result = subprocess.run(
            [sys.executable, "-m", "hub_server", *arguments],
            env=self._env,
            capture_output=True,
            text=True,
            check=False,
        )
        if result.returncode != 0:
            raise _child_error(
                f"`hub_server {arguments[0]}` failed", result.stderr.strip().splitlines()
            )
        return result.stdout


class Supervisor:
    """The hub, the worker and the gateway of one platform, as child processes."""

    def __init__(self, platform: Platform, environ: Mapping[str, str]) -> None:
        self._platform = platform
        self._env = {
            # Processes that share few cores must sleep while they wait, not spin.
            "OMP_WAIT_POLICY": "passive",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            **environ,
            **platform.settings(),
        }
        self._administration = Administration(platform, environ)
        self._children: dict[str, _Child] = {}
        self.ready: Ready

    def start(self, credentials: CredentialStore) -> None:
        """Start everything; return when hub and gateway answer `/readyz`."""
        self._administration.migrate()
        keys = self._administration.service_keys()
        self._launch("hub", "hub_server", "serve")
        self._launch("worker", "training_backend", "worker", FREESOLO_TRAIN_API_KEY=keys.worker)
        self._launch("gateway", "serving_backend", "serve", FREESOLO_SERVE_API_KEY=keys.gateway)
        self._await_ready("hub", self._platform.hub_url)
        self._await_ready("gateway", self._platform.gateway_url)
        self._refuse_dead("worker")
        self.ready = _ready(self._platform, self._administration.user_key(credentials))
        (self._platform.run_dir / "ready.json").write_text(
            json.dumps(
                {"hub_port": self._platform.hub_port, "gateway_port": self._platform.gateway_port}
            )
        )

    def watch(self) -> NoReturn:
        """Start again what dies, until an exception ends it."""
        while True:
            for child in self._children.values():
                child.revive()
            time.sleep(_POLL_SECONDS)

    def stop(self) -> None:
        """Stop everything, in the reverse order, and wait until it is gone."""
        (self._platform.run_dir / "ready.json").unlink(missing_ok=True)
        for child in reversed(self._children.values()):
            child.stop()
        stop_leftovers(self._platform.data_dir)

    def _launch(self, name: str, module: str, verb: str, **secrets: str) -> None:
        self._children[name] = _Child(
            name=name,
            command=(sys.executable, "-m", module, verb),
            env={**self._env, **secrets},
            log=self._platform.logs_dir / f"{name}.log",
            record=self._platform.run_dir / f"{name}.json",
        )

    def _refuse_dead(self, name: str) -> None:
        """Raise what a child said before it stopped; return if it lives."""
        child = self._children[name]
        if (code := child.exit_code()) is not None:
            raise _child_error(f"The {name} stopped with exit code {code}", child.log_tail())

    def _await_ready(self, name: str, url: str) -> None:
        child = self._children[name]
        deadline = time.monotonic() + _READY_SECONDS
        while not answers(f"{url}/readyz"):
            self._refuse_dead(name)
            if time.monotonic() > deadline:
                raise Unavailable(
                    f"The {name} did not get ready within {_READY_SECONDS:.0f} s.",
                    hint=f"Its log is {child.log}.",
                )
            time.sleep(_POLL_SECONDS)


class _Child:
    """One child process that is started again when it dies."""

    def __init__(
        self,
        *,
        name: str,
        command: tuple[str, ...],
        env: Mapping[str, str],
        log: Path,
        record: Path,
    ) -> None:
        self.log = log
        self._name = name
        self._command = command
        self._env = env
        self._record = record
        self._deaths = 0
        self._next_start = 0.0
        self._start()

    def _start(self) -> None:
        self._process = processes.start(
            self._command, env=self._env, log=self.log, record=self._record
        )
        self._started = time.monotonic()
        self._alive = True

    def exit_code(self) -> int | None:
        """Return the exit code, or None while it runs."""
        return self._process.poll()

    def log_tail(self) -> list[str]:
        """Return the last lines of its output."""
        return self.log.read_text(errors="replace").splitlines()[-20:]

    def revive(self) -> None:
        """Start it again if it died, later after each quick death."""
        code = self._process.poll()
        now = time.monotonic()
        if code is None:
            return
        if self._alive:
            self._alive = False
            self._deaths = 1 if now - self._started > _STABLE_SECONDS else self._deaths + 1
            wait = min(2.0 ** (self._deaths - 1) - 1, _MAX_BACKOFF_SECONDS)
            self._next_start = now + wait
            logger.warning(
                "process died", extra={"child": self._name, "exit_code": code, "wait": wait}
            )
        if now >= self._next_start:
            # What the dead process left running (a trainer, an engine) is its successor's to end.
            self._start()

    def stop(self) -> None:
        """End it with all its descendants."""
        processes.stop_recorded(self._record, grace=_GRACE_SECONDS)
        self._process.wait()


def stop(data_dir: Path) -> bool:
    """Stop the platform of a data folder; return whether anything of it ran."""
    ran = processes.stop_process(data_dir / "run" / "supervisor.json", grace=3 * _GRACE_SECONDS)
    return stop_leftovers(data_dir) or ran


def stop_leftovers(data_dir: Path) -> bool:
    """End every recorded process of a platform whose supervisor is gone; say if there was one."""
    records = [
        record
        for folder in (data_dir, data_dir / "worker", data_dir / "gateway")
        for record in sorted((folder / "run").glob("*.json"))
        if record.name not in ("supervisor.json", "ready.json")
    ]
    found = [record for record in records if processes.is_running(record)]
    for record in records:
        processes.stop_recorded(record, grace=_GRACE_SECONDS)
    return bool(found)


def find_running(
    platform: Platform, credentials: CredentialStore, environ: Mapping[str, str]
) -> Ready | None:
    """Return what a platform that already runs on this data folder offers this user.

    None if nothing runs or it is not ready yet. Raise `AlreadyRunning` if it listens elsewhere.
    """
    if processes.find_process(platform.run_dir / "supervisor.json") is None:
        return None
    try:
        running_on = json.loads((platform.run_dir / "ready.json").read_text())
    except (OSError, ValueError):
        return None
    if running_on != {"hub_port": platform.hub_port, "gateway_port": platform.gateway_port}:
        raise AlreadyRunning(
            f"A platform already runs on {platform.data_dir}, on the ports "
            f"{running_on['hub_port']} and {running_on['gateway_port']}.",
            hint=f"`freesolo down --data-dir {platform.data_dir}` stops it.",
        )
    return _ready(platform, Administration(platform, environ).user_key(credentials))


def check_port(port: int) -> None:
    """Raise `PortInUse` if a process listens on `port` of the loopback."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except OSError as error:
            raise PortInUse(
                f"Port {port} cannot be used: {error.strerror}.",
                hint="`--hub-port` and `--gateway-port` choose others.",
            ) from None


def answers(url: str) -> bool:
    """Say whether a service on this machine answers `url` with success."""
    try:
        # A proxy of the environment does not lead back to this machine.
        return httpx.get(url, timeout=2, trust_env=False).is_success
    except httpx.TransportError:
        return False


def interrupt_on_sigterm() -> None:
    """Make SIGTERM end this process as Ctrl-C does, through its `finally` blocks."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)


def _ignore_signals() -> None:
    """Let nothing interrupt the stopping itself."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def _ready(platform: Platform, api_key: str) -> Ready:
    return Ready(
        hub_url=platform.hub_url,
        gateway_url=platform.gateway_url,
        api_key=api_key,
        data_dir=str(platform.data_dir),
    )


def _child_error(what: str, lines: list[str]) -> FreesoloError:
    details = "\n".join(lines)
    if "No space left on device" in details or "disk is full" in details:
        return StorageFull(f"{what}: the disk is full.", hint="Free some space and try again.")
    if "No module named" in details:
        return Unavailable(
            f"{what}: {lines[-1]}.",
            hint="The platform's parts are not installed: `pip install 'freesolo[hub,train,serve]'`.",
        )
    return Unavailable(f"{what}.", hint=f"It said:\n{details}")
