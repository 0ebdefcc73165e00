"""What every executor promises, on child processes and on a real Ray head."""

import os
import re
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from pydantic import SecretStr

from freesolo.client.transport import Transport
from freesolo.domain.devices import CPU, Devices
from freesolo.domain.lifecycle import RunState
from freesolo.errors import InvalidInput, LeaseLost, Unavailable
from freesolo.schemas.leases import Lease, ticket_of
from freesolo.schemas.runs import Run
from tests.component.worker.test_watching import STUCK, SUM, gone
from tests.platforms import Platform, running_platform, wait_for
from tests.ray_head import RayHead, ray_head
from training_backend.executors import Executor, open_executor
from training_backend.hub import LeaseHub
from training_backend.post_mortem import Exit
from training_backend.settings import ExecutorKind, TrainingSettings

SCRIPTS = Path(sys.executable).parent
ONE_CPU = Devices(CPU, 1)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, migrated_sqlite: Path) -> Iterator[Platform]:
    """One platform for all: the nodes of a cluster know one hub."""
    folder = tmp_path_factory.mktemp("executors")
    with running_platform(folder, migrated_sqlite, lease_seconds=600.0) as platform:
        platform.publish("stuck", STUCK)
        platform.publish("sum", SUM.replace("REWARD", "float(response == example.output)"))
        platform.publish("unfair", SUM.replace("REWARD", "{}['a typing mistake']"))
        yield platform


@pytest.fixture(scope="module")
def head(shared: Platform) -> Iterator[RayHead]:
    """A cluster of one node, on which the settings of a worker are."""
    node = shared.worker_settings(work_dir=shared.folder / "node")
    with ray_head(SCRIPTS, node) as head:
        yield head


@dataclass(frozen=True)
class Place:
    """An executor of some kind, and the platform it works for."""

    platform: Platform
    settings: TrainingSettings

    hub: LeaseHub

    @property
    def executor(self) -> Executor:
        """Return an executor as a worker opens it."""
        environ = {**os.environ, **self.platform.worker_settings()}  # noqa: TID251
        return open_executor(self.settings, ONE_CPU, environ)

    def lease(self, name: str) -> tuple[Run, Lease]:
        """Return a run that was just claimed."""
        run = self.platform.submit(name)
        lease = self.hub.claim("worker-1", ONE_CPU)
        assert lease is not None
        assert lease.run_id == run.id
        return run, lease


@pytest.fixture(scope="module")
def hub(shared: Platform) -> Iterator[LeaseHub]:
    """The platform's hub as a worker calls it."""
    with closing(Transport(shared.hub.url, shared.hub.worker_key)) as transport:
        yield LeaseHub(transport)


@pytest.fixture
def local_place(shared: Platform, hub: LeaseHub, tmp_path: Path) -> Place:
    """Child processes of this one."""
    settings = TrainingSettings(
        api_key=SecretStr(shared.hub.worker_key), work_dir=tmp_path, threads=1
    )
    return Place(shared, settings, hub)


@pytest.fixture
def ray_place(local_place: Place, head: RayHead) -> Place:
    """The cluster."""
    changes = {
        "executor": ExecutorKind.RAY,
        "ray_address": head.address,
        "ray_patience_seconds": 3.0,
    }
    return replace(local_place, settings=local_place.settings.model_copy(update=changes))


@pytest.fixture(params=["local_place", "ray_place"])
def place(request: pytest.FixtureRequest) -> Place:
    """A place of each kind."""
    place: Place = request.getfixturevalue(request.param)
    return place


def job_of(lease: Lease) -> psutil.Process:
    """Return the training process of a lease as soon as it runs."""
    found: list[psutil.Process] = []

    def look() -> bool:
        found[:] = [process for process in psutil.process_iter() if is_job(process, lease)]
        return bool(found)

    wait_for(look)
    return found[0]


def is_job(process: psutil.Process, lease: Lease) -> bool:
    try:
        command = process.cmdline()
    except psutil.Error:
        return False
    module = command[1:3] == ["-m", "training_backend"]
    return module and any(lease.run_id in part for part in command)


def end_of(poll: Callable[[], Exit | None]) -> Exit:
    found: list[Exit] = []

    def look() -> bool:
        found.extend(filter(None, [poll()]))
        return bool(found)

    wait_for(look)
    return found[0]


def everything_shown(head: RayHead, submission: str) -> str:
    """Return all that whoever may look at a cluster sees of a job."""
    paths = ("", f"/{submission}", f"/{submission}/logs")
    return "".join(
        httpx.get(f"{head.address}/api/jobs{path}", trust_env=False).text for path in paths
    )


def test_an_attempt_that_tells_its_outcome_ends_well(place: Place) -> None:
    run, lease = place.lease("unfair")
    attempt = place.executor.start(lease)

    end = end_of(attempt.poll)

    assert (end.code, end.began) == (0, True)
    assert attempt.has_begun()
    assert place.platform.client.run(run.id).state == "failed"
    assert "run failed" in attempt.log_tail()
    attempt.stop()
    attempt.forget()
    assert not list(place.settings.work_dir.glob("**/run-*"))


def test_an_attempt_whose_process_is_killed_ends_by_that_signal(place: Place) -> None:
    _, lease = place.lease("stuck")
    attempt = place.executor.start(lease)

    job_of(lease).send_signal(signal.SIGKILL)

    assert end_of(attempt.poll).code == -signal.SIGKILL
    attempt.stop()


def test_what_a_killed_worker_started_is_ended_by_the_next(place: Place) -> None:
    _, lease = place.lease("stuck")
    attempt = place.executor.start(lease)
    job = job_of(lease)
    assert attempt.poll() is None

    # Another executor on the same folder, as of a worker that was started anew.
    left = place.executor.sweep()

    wait_for(lambda: gone(job))
    assert left == [lease]
    assert place.executor.sweep() == []
    attempt.stop()


def test_a_ticket_gets_a_lease_once(local_place: Place) -> None:
    hub = local_place.hub
    run, lease = local_place.lease("stuck")
    with pytest.raises(LeaseLost):
        hub.collect(run.id, ticket_of("another token"))
    assert hub.collect(run.id, ticket_of(lease.token)) == lease
    with pytest.raises(LeaseLost):
        hub.collect(run.id, ticket_of(lease.token))


class LosesAnAnswer(httpx.HTTPTransport):
    """A network over which every request arrives, but the first answer does not come back."""

    lost = False

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request, and lose the first answer."""
        response = super().handle_request(request)
        if self.lost:
            return response
        self.lost = True
        response.close()
        raise httpx.ReadError("The connection was reset.")


def test_a_lost_answer_to_a_ticket_is_not_taken_for_a_lost_lease(local_place: Place) -> None:
    run, lease = local_place.lease("stuck")
    hub = local_place.platform.hub
    with (
        httpx.Client(transport=LosesAnAnswer()) as http,
        closing(Transport(hub.url, hub.worker_key, http=http)) as transport,
        pytest.raises(Unavailable),
    ):
        LeaseHub(transport, patience=5.0).collect(run.id, ticket_of(lease.token))


@pytest.mark.parametrize(
    ("address", "words"), [("http://127.0.0.1:9", "127.0.0.1:9"), (None, "address of a cluster")]
)
def test_a_cluster_that_is_not_there_is_named(
    local_place: Place, address: str | None, words: str
) -> None:
    changes = {"executor": ExecutorKind.RAY, "ray_address": address}
    settings = local_place.settings.model_copy(update=changes)
    with pytest.raises(InvalidInput, match=re.escape(words)):
        open_executor(settings, ONE_CPU, {})


def trained_by_worker(platform: Platform, **changes: Any) -> list[str]:  # noqa: ANN401
    run = platform.submit("sum", max_steps=2)
    worker = platform.start_worker(**changes).process
    run = platform.wait_for_state(run, RunState.DONE)
    worker.send_signal(signal.SIGTERM)
    worker.wait()
    return [point.digest for point in platform.client.checkpoints(run.id)]


def test_a_worker_trains_on_a_cluster_to_the_same_bytes_as_in_a_child_process(
    shared: Platform, head: RayHead
) -> None:
    of_child = trained_by_worker(shared)
    of_ray = trained_by_worker(shared, executor="ray", ray_address=head.address)
    assert of_ray == of_child


def test_a_head_that_is_lost_loses_its_attempts_and_shows_no_secret(
    ray_place: Place, head: RayHead
) -> None:
    place = ray_place
    (_, lease), (_, waiting_lease) = place.lease("stuck"), place.lease("stuck")
    attempt = place.executor.start(lease)
    job = job_of(lease)
    # There is one CPU.
    waiting = place.executor.start(waiting_lease)

    shown = everything_shown(head, f"{lease.run_id}-1")
    assert ticket_of(lease.token) in shown
    secrets: Sequence[str] = (lease.token, waiting_lease.token, place.platform.hub.worker_key)
    assert not any(secret in shown for secret in secrets)
    assert attempt.poll() is None
    assert waiting.poll() is None
    assert (attempt.has_begun(), waiting.has_begun()) == (True, False)
    head.kill()

    lost, never_begun = end_of(attempt.poll), end_of(waiting.poll)
    wait_for(lambda: gone(job))
    assert (lost.code, lost.began) == (None, True)
    assert (never_begun.code, never_begun.began) == (None, False)
    assert "Ray has not answered for 3 s" in lost.reason
    attempt.stop()
