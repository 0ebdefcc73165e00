"""Runs that go on from another run's adapter, through a real hub and a real worker."""

import json
import signal

from freesolo.domain.lifecycle import RunState
from freesolo.schemas.runs import EventKind, Run
from tests import tiny_model
from tests.component.worker.conftest import Command, Platform, wait_for
from tests.component.worker.test_training import COUNT, adapter_files, saved_steps


def losses(platform: Platform, run: Run) -> list[float]:
    events = [event for event in platform.events(run) if event.kind is EventKind.METRICS]
    return [float(str(event.data["loss"])) for event in events]


def digests(platform: Platform, run: Run) -> list[str]:
    return [point.digest for point in platform.client.checkpoints(run.id)]


def test_a_warm_start_goes_on_learning_and_ends_with_the_same_bytes_after_kill_9(
    platform: Platform, command: Command
) -> None:
    platform.publish("count", COUNT)
    worker = platform.start_worker()
    first = platform.submit("count", max_steps=60, save_at_steps=[10])
    first = platform.wait_for_state(first, RunState.DONE)
    warm = {"init_from_adapter": first.id, "lora_rank": None, "max_steps": 60, "save_at_steps": [2]}

    second = platform.wait_for_state(platform.submit("count", **warm), RunState.DONE)

    # It begins about where the first one stopped, and gets further.
    begun, ended = losses(platform, second)[:5], losses(platform, second)[-5:]
    assert sum(begun) < 0.9 * sum(losses(platform, first)[:5])
    assert sum(ended) < sum(begun)
    files = adapter_files(platform, second, 60)
    told = json.loads(files["provenance.json"])
    assert told["warm_start"]["tree_digest"] == digests(platform, first)[-1]
    assert json.loads(files["adapter_config.json"])["r"] == 4

    # The same work again, killed after its first checkpoint: that is what it goes on from.
    again = platform.submit("count", **warm)
    wait_for(lambda: saved_steps(platform, again) == [2])
    worker.job(again).send_signal(signal.SIGKILL)
    again = platform.wait_for_state(again, RunState.DONE)
    assert again.attempt == 2
    assert digests(platform, again) == digests(platform, second)

    # A third generation, from a checkpoint: it names both that it came from.
    third = platform.submit(
        "count", init_from_adapter=f"{second.id}/step-2", lora_rank=None, max_steps=1
    )
    third = platform.wait_for_state(third, RunState.DONE)
    made_by = platform.client.run(third.id).provenance
    assert made_by is not None
    assert made_by.warm_start is not None
    assert (made_by.warm_start.run_id, made_by.warm_start.step) == (second.id, 2)
    assert [(each.run_id, each.step) for each in made_by.warm_start.ancestors] == [(first.id, 60)]
    assert json.loads(adapter_files(platform, third, 1)["provenance.json"]) == made_by.model_dump(
        mode="json"
    )
    code, out = command("runs", "show", third.id)
    assert code == 0
    lines = [line.split()[:2] for line in out.split("lineage\n")[1].splitlines()]
    assert lines[:4] == [
        ["*", third.id],
        ["*", f"{second.id}/step-2"],
        ["*", f"{first.id}/step-60"],
        ["o", tiny_model.MODEL_ID],
    ]
