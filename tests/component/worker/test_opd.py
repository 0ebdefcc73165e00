"""On-policy distillation of the tiny model, through a real hub and a real worker process."""

import signal

from freesolo.domain.lifecycle import RunState
from freesolo.schemas.runs import EventKind
from tests.component.worker.test_training import saved_steps
from tests.component.worker.test_watching import SUM
from tests.platforms import Platform, wait_for


def test_an_adapter_teaches_a_run_also_after_kill_9(platform: Platform) -> None:
    platform.publish("sum", SUM.replace("REWARD", "float(response.strip() == example.output)"))
    worker = platform.start_worker()
    taught = platform.submit("sum", max_steps=8, learning_rate=1e-2)
    taught = platform.wait_for_state(taught, RunState.DONE)

    run = platform.submit(
        "sum",
        algorithm="opd",
        teacher_model=taught.id,
        max_completion_tokens=8,
        batch_size=16,
        learning_rate=3e-3,
        max_steps=10,
        save_at_steps=[2, 10],
    )
    wait_for(lambda: saved_steps(platform, run) == [2])
    worker.job(run).send_signal(signal.SIGKILL)
    run = platform.wait_for_state(run, RunState.DONE)

    assert run.attempt == 2
    steps = [event for event in platform.events(run) if event.kind is EventKind.METRICS]
    assert {event.step for event in steps} == set(range(1, 11))
    distances = [float(str(event.data["teacher_kl"])) for event in steps]
    assert sum(distances[-3:]) < sum(distances[:3])
