"""A real hub, real worker processes, a tiny model: a platform of the test's own."""

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from freesolo import processes
from freesolo.client.hub import HubClient
from freesolo.domain.lifecycle import RUN_ENDED, RunState
from freesolo.domain.refs import EnvRef
from freesolo.schemas.runs import Run, RunEvent
from hub_server.settings import HubSettings
from tests import tiny_model
from tests.factories import make_environment, pack_folder
from tests.hubs import LiveHub, live_hub
from tests.system_packages import require_package

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

    process: psutil.Process
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
        return self.submit_on(None, name, **train)

    def submit_on(self, device: str | None, name: str, **train: object) -> Run:
        """Queue a run on the tiny model that asks for a class of devices."""
        algorithm = train.pop("algorithm", "sft")
        table = {"batch_size": 2, "lora_rank": 4, "learning_rate": 1e-3, **train}
        return self.client.create_run(
            {
                "model": tiny_model.MODEL_ID,
                "algorithm": algorithm,
                "environment": {"id": f"local/{name}"},
                "train": table,
                "gpu": {"type": device} if device else {},
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

    def worker_settings(self, **changes: object) -> dict[str, str]:
        """Return the settings of a worker, as in `worker_settings(concurrency=2)`."""
        settings: dict[str, object] = {
            "hub_url": self.hub.url,
            "api_key": self.hub.worker_key,
            "cache_dir": self.folder / "cache",
            "work_dir": self.folder / "worker",
            "threads": 1,
            "poll_seconds": 0.1,
            **changes,
        }
        return {f"FREESOLO_TRAIN_{name}".upper(): str(it) for name, it in settings.items()}

    def start_worker(self, *, disk: int | None = None, **changes: object) -> WorkerProcess:
        """Start a worker; whatever it leaves is ended with the test.

        With `disk` it works on a disk of its own with that many bytes, which no other process sees.
        """
        work_dir = self.folder / "worker"
        command = [sys.executable, "-m", "training_backend", "worker"]
        if disk is not None:
            command = [*_on_own_disk(work_dir, disk), *command]
        settings = self.worker_settings(**changes)
        environment = {**os.environ, **settings}  # noqa: TID251 - handed on, not read
        process: psutil.Process = psutil.Popen(command, env=environment, stderr=subprocess.DEVNULL)
        if disk is not None:
            # What made the disk stays as the worker's parent, and ends with it.
            self.processes.callback(process.wait)
            wait_for(lambda: bool(process.children()))
            (process,) = process.children()
        self.processes.callback(_end, process, work_dir)
        return WorkerProcess(process, work_dir)


def _on_own_disk(folder: Path, size: int) -> list[str]:
    if shutil.which("bwrap") is None:
        require_package("bubblewrap")
    folder.mkdir()
    return ["bwrap", "--dev-bind", "/", "/", "--size", str(size), "--tmpfs", str(folder), "--"]


def _end(worker: psutil.Process, work_dir: Path) -> None:
    if worker.is_running():
        worker.send_signal(signal.SIGTERM)
        worker.wait()
    for record in work_dir.glob("run/*.json"):
        processes.stop_recorded(record, grace=0)


@contextmanager
def running_platform(folder: Path, migrated_sqlite: Path, **changes: object) -> Iterator[Platform]:
    """Run a platform without a worker in a folder of its own."""
    data_dir = folder / "hub"
    data_dir.mkdir()
    shutil.copy(migrated_sqlite, data_dir / "hub.db")
    catalog = folder / "catalog.toml"
    catalog.write_text(tiny_model.catalog_toml(tiny_model.build(folder / "tiny")))
    settings = HubSettings(
        data_dir=data_dir, database_url=None, catalog=catalog, lease_seconds=LEASE_SECONDS
    ).model_copy(update=changes)
    with (
        live_hub(settings) as hub,
        HubClient(hub.url, hub.user_key) as client,
        ExitStack() as started,
    ):
        yield Platform(hub, client, folder, started)
