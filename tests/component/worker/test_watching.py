"""What a worker does about its training process, told with environments that never load."""

import signal
from contextlib import closing

import psutil

from freesolo import supervisor
from freesolo.client.transport import Transport
from freesolo.domain.lifecycle import RunState
from freesolo.schemas.leases import Lease
from tests.component.worker.conftest import Platform, wait_for
from training_backend.hub import LeaseHub

STUCK = """
    import time

    def load_environment(**params):
        while True:
            time.sleep(1)
"""

SUM = """
    from freesolo.environments import EnvironmentSingleTurn, RewardResult


    class Sum(EnvironmentSingleTurn):
        dataset = [{"input": "1+1?", "output": "2"}]

        def build_prompt_messages(self, example, prompt_text):
            return [{"role": "user", "content": example.input}]

        def score_response(self, example, response, **kwargs):
            return RewardResult(score=REWARD)


    def load_environment(**params):
        return Sum()
"""


def gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def test_a_reward_that_raises_fails_the_run_with_the_authors_traceback(platform: Platform) -> None:
    platform.publish("unfair", SUM.replace("REWARD", "{}['a typing mistake']"))
    run = platform.submit("unfair", max_steps=2)
    platform.start_worker()

    run = platform.wait_for_state(run, RunState.FAILED)

    assert run.error is not None
    assert run.error.code == "env_failed"
    assert run.error.traceback is not None
    assert "{}['a typing mistake']" in run.error.traceback
    assert run.started_at is None


def test_a_reward_that_gives_gold_answers_nothing_fails_the_run(platform: Platform) -> None:
    platform.publish("worthless", SUM.replace("REWARD", "0.0"))
    run = platform.submit("worthless", max_steps=2)
    platform.start_worker()

    run = platform.wait_for_state(run, RunState.FAILED)

    assert run.error is not None
    assert run.error.code == "env_failed"
    assert run.started_at is None


def test_a_cancelled_run_is_stopped_and_the_worker_goes_on(platform: Platform) -> None:
    platform.publish("stuck", STUCK)
    run = platform.submit("stuck")
    worker = platform.start_worker()
    job = worker.job(run)

    platform.client.cancel_run(run.id)

    platform.wait_for_state(run, RunState.CANCELLED)
    assert gone(job)
    assert worker.process.is_running()


def test_a_worker_that_is_asked_to_stop_gives_its_run_back(platform: Platform) -> None:
    platform.publish("stuck", STUCK)
    run = platform.submit("stuck")
    worker = platform.start_worker()
    job = worker.job(run)

    worker.process.send_signal(signal.SIGTERM)

    assert worker.process.wait(timeout=30) == 0
    assert gone(job)
    assert platform.client.run(run.id).state == RunState.QUEUED


def test_a_lost_lease_ends_the_training_process(platform: Platform) -> None:
    platform.publish("stuck", STUCK)
    run = platform.submit("stuck")
    worker = platform.start_worker()
    job = worker.job(run)
    lease = Lease.model_validate_json((worker.work_dir / f"{run.id}-1/lease.json").read_text())

    with closing(Transport(platform.hub.url, platform.hub.worker_key)) as transport:
        LeaseHub(transport).release(lease)

    wait_for(lambda: gone(job))
    worker.job(run, attempt=2)


def test_a_killed_worker_is_replaced_and_its_training_process_ended(platform: Platform) -> None:
    platform.publish("stuck", STUCK)
    run = platform.submit("stuck")
    worker = platform.start_worker()
    job = worker.job(run)

    worker.process.send_signal(signal.SIGKILL)
    worker.process.wait()
    successor = platform.start_worker()

    wait_for(lambda: gone(job))
    successor.job(run, attempt=2)


def test_a_training_process_whose_worker_and_supervisor_were_killed_is_ended_by_down(
    platform: Platform,
) -> None:
    platform.publish("stuck", STUCK)
    run = platform.submit("stuck")
    worker = platform.start_worker()
    job = worker.job(run)
    worker.process.send_signal(signal.SIGKILL)
    worker.process.wait()

    # The worker's folder is where `up` puts it in a platform's data folder.
    assert supervisor.stop(worker.work_dir.parent)

    assert gone(job)


def test_a_run_that_no_worker_can_start_fails_with_the_system_s_reason(platform: Platform) -> None:
    platform.publish("stuck", STUCK)
    # Stands in for a full disk: a file where the folder of records should be.
    (platform.folder / "worker").mkdir()
    (platform.folder / "worker" / "run").write_text("")
    run = platform.submit("stuck")
    worker = platform.start_worker()

    run = platform.wait_for_state(run, RunState.FAILED)

    assert run.error is not None
    assert str(platform.folder / "worker" / "run") in run.error.message
    assert worker.process.is_running()


def test_two_workers_do_not_share_a_folder(platform: Platform) -> None:
    first = platform.start_worker()
    wait_for(lambda: (first.work_dir / "worker.lock").exists())

    second = platform.start_worker()

    assert second.process.wait(timeout=30) == 4
