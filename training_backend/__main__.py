"""`python -m training_backend worker`, and `job LEASE_FILE` for the process it starts."""

import signal
import threading
from pathlib import Path

import click

from freesolo.client.transport import Transport
from freesolo.errors import FreesoloError
from freesolo.logs import configure_logging, run_id
from freesolo.schemas.leases import Lease
from freesolo.services import leave, load_settings
from training_backend.hub import LeaseHub
from training_backend.job import run_job
from training_backend.settings import TrainingSettings
from training_backend.worker import Worker

# Short enough that a hub which hangs does not cost the lease.
_TIMEOUT = 10.0
# How long a job waits for a hub that does not answer: a restart, not a move.
_PATIENCE = 600.0


@click.group()
def main() -> None:
    """Train the runs of a hub."""


@main.command()
def worker() -> None:
    """Lease runs and train them, one after the other, until SIGTERM."""
    settings = load_settings(TrainingSettings)
    configure_logging(settings.log_level)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    Worker(LeaseHub(_transport(settings)), settings, stop).run_forever()


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


def _transport(settings: TrainingSettings) -> Transport:
    return Transport(settings.hub_url, settings.api_key.get_secret_value(), timeout=_TIMEOUT)


if __name__ == "__main__":
    try:
        main()
    except FreesoloError as error:
        leave(error)
