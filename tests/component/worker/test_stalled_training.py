"""A run that hangs in the middle of its training."""

import signal

from freesolo.domain.lifecycle import RunState
from tests.component.worker.test_training import COUNT, saved_steps
from tests.component.worker.test_watching import gone, outcomes
from tests.platforms import Platform, wait_for


def test_a_training_process_that_freezes_is_ended_and_its_run_goes_on_from_its_checkpoint(
    patient_platform: Platform,
) -> None:
    platform = patient_platform
    platform.publish("count", COUNT)
    run = platform.submit("count", max_steps=500, save_at_steps=[20])
    # Long for one of these steps, also on a busy machine.
    worker = platform.start_worker(step_seconds=5.0)
    wait_for(lambda: saved_steps(platform, run) == [20])
    job = worker.job(run)

    job.send_signal(signal.SIGSTOP)
    wait_for(lambda: gone(job))
    platform.wait_for_state(run, RunState.DONE)

    assert outcomes(platform, run) == ["retried", "done"]
    frozen, resumed = platform.client.run(run.id).attempts
    assert frozen.error is not None
    assert frozen.error.code == "unavailable_stalled"
    assert "had not ended after 5 s" in frozen.error.message
    assert resumed.first_step == 20
    assert saved_steps(platform, run) == [20, 500]
