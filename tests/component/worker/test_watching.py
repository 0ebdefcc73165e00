"""What a worker does about its training process, told with environments that never load."""

import signal
from contextlib import closing

import psutil

from freesolo import supervisor
from freesolo.client.transport import Transport
from freesolo.domain.lifecycle import RunState
from freesolo.schemas.leases import Lease
from freesolo.schemas.runs import Run
from tests.platforms import Platform, wait_for
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


SLOW_REWARD = """
    import time

    from freesolo.environments import EnvironmentSingleTurn, RewardResult


    class Slow(EnvironmentSingleTurn):
        dataset = [{"input": "1+1?", "output": "2"}]

        def build_prompt_messages(self, example, prompt_text):
            return [{"role": "user", "content": example.input}]

        def score_response(self, example, response, **kwargs):
            print("scoring", flush=True)
            time.sleep(3600)


    def load_environment(**params):
        return Slow()
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


def outcomes(platform: Platform, run: Run) -> list[str | None]:
    return [made.outcome for made in platform.client.run(run.id).attempts]


def test_a_cancelled_run_waits_for_no_heartbeat_and_no_reward(patient_platform: Platform) -> None:
    platform = patient_platform
    platform.publish("slow", SLOW_REWARD)
    run = platform.submit("slow")
    worker = platform.start_worker()
    job = worker.job(run)
    wait_for(lambda: any("environment runs" in str(event.data) for event in platform.events(run)))

    # The next heartbeat is due in minutes, as is the deadline of the reward that hangs.
    platform.client.cancel_run(run.id)

    platform.wait_for_state(run, RunState.CANCELLED)
    assert gone(job)
    assert outcomes(platform, run) == ["cancelled"]


def test_a_run_that_hangs_is_tried_again_and_then_fails_with_what_to_do(
    patient_platform: Platform,
) -> None:
    platform = patient_platform
    platform.publish("stuck", STUCK)
    run = platform.submit("stuck")
    worker = platform.start_worker(starting_seconds=2.0)
    job = worker.job(run)

    run = platform.wait_for_state(run, RunState.FAILED)

    assert gone(job)
    assert outcomes(platform, run) == ["retried", "retried"]
    assert run.error is not None
    assert run.error.code == "unavailable_stalled"
    assert "Training had not begun after 2 s" in run.error.message
    assert "FREESOLO_TRAIN_STARTING_SECONDS" in str(run.error.hint)


def test_a_frozen_process_is_found_and_ended(patient_platform: Platform) -> None:
    platform = patient_platform
    platform.publish("stuck", STUCK)
    run = platform.submit("stuck")
    worker = platform.start_worker(starting_seconds=2.0)
    job = worker.job(run)

    # It cannot say anything, and cannot be asked to end.
    job.send_signal(signal.SIGSTOP)

    wait_for(lambda: gone(job))
    wait_for(lambda: outcomes(platform, run)[0] == "retried")


def test_what_a_killed_worker_had_is_given_back_before_its_lease_runs_out(
    patient_platform: Platform,
) -> None:
    platform = patient_platform
    platform.publish("stuck", STUCK)
    run = platform.submit("stuck")
    worker = platform.start_worker()
    worker.job(run)
    worker.process.send_signal(signal.SIGKILL)
    worker.process.wait()

    platform.start_worker().job(run, attempt=2)

    (first, _) = platform.client.run(run.id).attempts
    assert first.error is not None
    assert first.error.code == "unavailable_worker_lost"


def test_a_worker_attends_as_many_runs_as_it_is_told(patient_platform: Platform) -> None:
    platform = patient_platform
    platform.publish("stuck", STUCK)
    runs = [platform.submit("stuck") for _ in range(3)]
    worker = platform.start_worker(concurrency=2)

    jobs = [worker.job(run) for run in runs[:2]]

    assert all(job.is_running() for job in jobs)
    assert platform.client.run(runs[2].id).state == RunState.QUEUED
    platform.client.cancel_run(runs[0].id)
    worker.job(runs[2])
    assert jobs[1].is_running()


def test_a_run_for_other_devices_waits(patient_platform: Platform) -> None:
    platform = patient_platform
    platform.publish("stuck", STUCK)
    other = platform.submit_on("H200", "stuck")
    run = platform.submit("stuck")
    platform.start_worker(device_type="cpu").job(run)

    waiting = platform.client.run(other.id)

    assert waiting.state == RunState.QUEUED
    assert "No known worker has 'H200'" in str(waiting.waits_because)
