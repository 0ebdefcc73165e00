"""`python -m training_backend worker`, and what it starts: `job LEASE_FILE`, or `remote-job`."""

import os
import signal
import threading
from pathlib import Path

import click

from freesolo.client.transport import Transport
from freesolo.errors import FreesoloError
from freesolo.logs import configure_logging, run_id
from freesolo.schemas.leases import Lease
from freesolo.services import leave, load_settings
from training_backend.devices import find_devices
from training_backend.executors import open_executor
from training_backend.hub import LeaseHub
from training_backend.job import run_job
from training_backend.scratch import attempt_folder
from training_backend.settings import TrainingSettings
from training_backend.worker import Worker

# Short enough that a hub which hangs does not cost the lease.
_TIMEOUT = 10.0
# How long a job goes on without a hub that answers; then its machine is better used otherwise.
_PATIENCE = 3600.0

# Apart from the attempts of a worker on the same machine, which sweeps its own.
_REMOTE = "remote"


@click.group()
def main() -> None:
    """Train the runs of a hub."""


@main.command()
def worker() -> None:
    """Lease runs and train them until SIGTERM."""
    settings = load_settings(TrainingSettings)
    configure_logging(settings.log_level)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    environ = os.environ  # noqa: TID251 - handed on; of it, only what CUDA is told is read
    own = find_devices(settings, environ)
    executor = open_executor(settings, own.told, environ, names=own.names)
    # It comes back by itself: a call that is repeated would keep it from looking after a run.
    hub = LeaseHub(_transport(settings, attempts=1))
    Worker(hub, executor, settings, devices=own.told, stop=stop).run_forever()


@main.command()
@click.argument("lease_file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
def job(lease_file: Path) -> None:
    """Train the run whose lease is in LEASE_FILE, beside which this process may write."""
    settings = load_settings(TrainingSettings)
    configure_logging(settings.log_level)
    lease = Lease.model_validate_json(lease_file.read_text())
    run_id.set(lease.run_id)
    hub = LeaseHub(_transport(settings), patience=_PATIENCE)
    run_job(lease, hub, settings=settings, work_dir=lease_file.parent)


@main.command()
@click.argument("run")
@click.argument("ticket")
def remote_job(run: str, ticket: str) -> None:
    """Train RUN, whose lease the hub hands over for TICKET, once: what a worker starts elsewhere."""
    settings = load_settings(TrainingSettings)
    configure_logging(settings.log_level)
    run_id.set(run)
    hub = LeaseHub(_transport(settings), patience=_PATIENCE)
    lease = hub.collect(run, ticket)
    with attempt_folder(settings.work_dir / _REMOTE, f"{run}-{lease.attempt}") as folder:
        run_job(lease, hub, settings=settings, work_dir=folder)


def _transport(settings: TrainingSettings, *, attempts: int = 4) -> Transport:
    key = settings.api_key.get_secret_value()
    return Transport(settings.hub_url, key, timeout=_TIMEOUT, attempts=attempts)


if __name__ == "__main__":
    try:
        main()
    except FreesoloError as error:
        leave(error)
