"""A real hub, a real worker process, a tiny model."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from freesolo import processes
from freesolo.cli.main import run as freesolo
from freesolo.client.hub import HubClient
from freesolo.domain.lifecycle import RUN_ENDED, RunState
from freesolo.domain.refs import EnvRef
from freesolo.schemas.runs import Run, RunEvent
from tests import tiny_model
from tests.factories import make_environment, pack_folder
from tests.hubs import LiveHub

# Long enough for a busy machine to keep it; the tests of lost leases wait as long.
LEASE_SECONDS = 10.0


def wait_for(condition: Callable[[], bool], *, seconds: float = 180.0) -> None:
    """Return as soon as `condition` holds; fail the test if it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        threading.Event().wait(0.05)


@dataclass(frozen=True)
class WorkerProcess:
    """A worker of its own, and the folder in which it keeps its attempts."""

    process: psutil.Popen
    work_dir: Path

    def job(self, run: Run, *, attempt: int = 1) -> psutil.Process:
        """Return the training process of an attempt as soon as it runs."""
        record = self.work_dir / "run" / f"{run.id}-{attempt}.json"
        wait_for(lambda: processes.read_record(record) is not None)
        found = processes.read_record(record)
        assert found is not None
        return psutil.Process(found.session)


@dataclass(frozen=True)
class Platform:
    """A hub with a user, whose environments and runs are few."""

    hub: LiveHub
    client: HubClient
    folder: Path
    processes: ExitStack

    def publish(self, name: str, source: str) -> None:
        """Publish an environment with this `environment.py`."""
        root = make_environment(self.folder / name, name=name, source=textwrap.dedent(source))
        self.client.publish(EnvRef("local", name), "0.1.0", pack_folder(root))

    def submit(self, name: str, **train: object) -> Run:
        """Queue a run on the tiny model, of SFT unless an `algorithm` is named."""
        algorithm = train.pop("algorithm", "sft")
        table = {"batch_size": 2, "lora_rank": 4, "learning_rate": 1e-3, **train}
        return self.client.create_run(
            {
                "model": tiny_model.MODEL_ID,
                "algorithm": algorithm,
                "environment": {"id": f"local/{name}"},
                "train": table,
            }
        )

    def events(self, run: Run) -> list[RunEvent]:
        """Return all events of a run."""
        found: list[RunEvent] = []
        after = 0
        while page := self.client.run_events(run.id, after=after).events:
            found += page
            after = page[-1].seq
        return found

    def wait_for_state(self, run: Run, state: RunState) -> Run:
        """Return the run once it is in `state`; fail the test if it ends in another."""
        wait_for(lambda: self.client.run(run.id).state in {state, *RUN_ENDED})
        run = self.client.run(run.id)
        assert run.state == state, run.error
        return run

    def start_worker(self) -> WorkerProcess:
        """Start a worker; whatever it leaves is ended with the test."""
        work_dir = self.folder / "worker"
        settings = {
            "FREESOLO_TRAIN_HUB_URL": self.hub.url,
            "FREESOLO_TRAIN_API_KEY": self.hub.worker_key,
            "FREESOLO_TRAIN_CACHE_DIR": str(self.folder / "cache"),
            "FREESOLO_TRAIN_WORK_DIR": str(work_dir),
            "FREESOLO_TRAIN_THREADS": "1",
            "FREESOLO_TRAIN_POLL_SECONDS": "0.1",
        }
        command = [sys.executable, "-m", "training_backend", "worker"]
        environment = {**os.environ, **settings}  # noqa: TID251 - handed on, not read
        process = psutil.Popen(command, env=environment, stderr=subprocess.DEVNULL)
        self.processes.callback(_end, process, work_dir)
        return WorkerProcess(process, work_dir)


def _end(worker: psutil.Popen, work_dir: Path) -> None:
    if worker.is_running():
        worker.send_signal(signal.SIGTERM)
        worker.wait()
    for record in work_dir.glob("run/*.json"):
        processes.stop_recorded(record, grace=0)


@pytest.fixture
def platform(start_live_hub: Callable[..., LiveHub], tmp_path: Path) -> Iterator[Platform]:
    """A platform without a worker; the test starts as many as it needs."""
    catalog = tmp_path / "catalog.toml"
    catalog.write_text(tiny_model.catalog_toml(tiny_model.build(tmp_path / "tiny")))
    hub = start_live_hub(catalog=catalog, lease_seconds=LEASE_SECONDS)
    with HubClient(hub.url, hub.user_key) as client, ExitStack() as started:
        yield Platform(hub, client, tmp_path, started)


# A command of the platform's user: its exit code, and what it printed.
Command = Callable[..., tuple[int, str]]


@pytest.fixture
def command(
    platform: Platform, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Command:
    """Run a command as the platform's user."""
    monkeypatch.setenv("FREESOLO_HUB_URL", platform.hub.url)
    monkeypatch.setenv("FREESOLO_API_KEY", platform.hub.user_key)
    monkeypatch.setenv("FREESOLO_HOME", str(platform.folder / "home"))

    def call(*arguments: str) -> tuple[int, str]:
        capsys.readouterr()
        code = freesolo(list(arguments))
        return code, capsys.readouterr().out

    return call
