"""Jobs that a real Ray head does not start: because it never could, or because it is full."""

import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from ray.job_submission import JobStatus, JobSubmissionClient

from freesolo.domain.lifecycle import RunState
from freesolo.schemas.runs import Run
from tests.component.worker.test_watching import STUCK, outcomes
from tests.platforms import Platform, wait_for
from tests.ray_head import RayHead, ray_head


@pytest.fixture(scope="module")
def head() -> Iterator[RayHead]:
    """A cluster of one CPU that gives up soon on a job it has no place for."""
    with ray_head(Path(sys.executable).parent, {"RAY_JOB_START_TIMEOUT_SECONDS": "4"}) as head:
        yield head


def logged(platform: Platform, run: Run) -> str:
    return "\n".join(str(event.data.get("message")) for event in platform.events(run))


def is_decided(client: JobSubmissionClient, job: str) -> bool:
    return client.get_job_status(job) is not JobStatus.PENDING


def take_the_cpu(client: JobSubmissionClient) -> None:
    """Run a job of somebody else's, as often as it takes: on a busy machine Ray gives up on that too."""
    while True:
        job = client.submit_job(entrypoint="sleep 600", entrypoint_num_cpus=1)
        wait_for(partial(is_decided, client, job))
        if client.get_job_status(job) is JobStatus.RUNNING:
            return


def test_a_run_that_no_node_is_large_enough_for_fails_with_what_to_change(
    platform: Platform, head: RayHead
) -> None:
    platform.publish("stuck", STUCK)
    run = platform.submit("stuck")
    platform.start_worker(executor="ray", ray_address=head.address, threads=2)

    run = platform.wait_for_state(run, RunState.FAILED)

    assert outcomes(platform, run) == ["retried", "retried"]
    assert run.error is not None
    assert run.error.code == "unavailable_job_not_started"
    assert "no node of the Ray cluster has 2 CPU and 0 GPU" in run.error.message
    assert "FREESOLO_TRAIN_THREADS" in str(run.error.hint)
    assert "the largest has 1 CPU" in logged(platform, run)


def test_a_run_that_finds_the_cluster_full_waits_and_says_so(
    platform: Platform, head: RayHead
) -> None:
    take_the_cpu(JobSubmissionClient(head.address))
    platform.publish("stuck", STUCK)
    run = platform.submit("stuck")
    platform.start_worker(executor="ray", ray_address=head.address)

    # As often as makes a run fail where it is held against it.
    wait_for(lambda: outcomes(platform, run)[:2] == ["released"] * 2)

    assert platform.client.run(run.id).state is not RunState.FAILED
    assert "the Ray cluster had no room for it" in logged(platform, run)
