"""Runs of GRPO on the tiny model, through a real hub and a real worker process."""

import shutil
import signal
from contextlib import suppress
from pathlib import Path

from freesolo.domain.lifecycle import RunState
from freesolo.domain.watchdog import Phase
from freesolo.schemas.runs import EventKind
from tests.component.worker.test_training import saved_steps
from tests.component.worker.test_watching import gone, outcomes
from tests.platforms import Platform, WorkerProcess, wait_for

# What a random model can do more or less of; the second turn is told what the first one was worth.
VOWELS = '''
    """Write vowels."""

    from freesolo.environments import EnvironmentMultiTurn, EnvironmentStepResult, RewardResult


    class Vowels(EnvironmentMultiTurn):
        dataset = [{"input": f"{n} vowels"} for n in range(7)]

        def start_episode(self, example, prompt_text):
            return [{"role": "user", "content": example.input}]

        def max_episode_turns(self, example):
            return 2

        def step_episode(self, example, messages, action):
            reply = {"role": "user", "content": str(share(action))[:4]}
            return EnvironmentStepResult(done=False, messages=(reply,))

        def score_episode(self, example, episode):
            said = [share(turn.content) for turn in episode.turns if turn.role == "assistant"]
            return RewardResult(sum(said), metadata={"per_turn_rewards": said})


    def share(text):
        return sum(letter in "aeiou" for letter in text) / max(1, len(text))


    def load_environment(**params):
        return Vowels()
'''
SETTINGS = {
    "algorithm": "grpo",
    "batch_size": 2,
    "group_size": 4,
    # Any of these letters ends a turn, so that some end before they are cut off.
    "stop_sequences": list("bcdfghjklm"),
    "max_completion_tokens": 24,
    "credit_assignment": "per_turn",
    "learning_rate": 1e-2,
}

# Room for a dozen checkpoints.
DISK = 16 << 20


def test_a_run_practises_and_a_killed_one_ends_with_the_same_bytes(platform: Platform) -> None:
    platform.publish("vowels", VOWELS)
    worker = platform.start_worker()
    settings = {**SETTINGS, "max_steps": 12, "save_at_steps": [2, 12]}

    run = platform.wait_for_state(platform.submit("vowels", **settings), RunState.DONE)

    assert (run.step, run.total_steps) == (12, 12)
    events = platform.events(run)
    steps = [event for event in events if event.kind is EventKind.METRICS]
    assert [event.step for event in steps] == list(range(1, 13))
    told = {"loss", "reward", "reward_std", "frac_reward_zero_std", "grad_norm", "tokens_per_s"}
    told |= {"completions/mean_length", "num_turns/mean"}
    assert all(told <= set(event.data) for event in steps)
    # Where nobody was better than its siblings, nothing was judged.
    judged = {"entropy", "sampling/logp_difference_mean"}
    assert any(judged <= set(event.data) for event in steps)
    assert any(abs(float(str(event.data["loss"]))) > 0 for event in steps)

    again = platform.submit("vowels", **settings)
    wait_for(lambda: saved_steps(platform, again) == [2])
    worker.job(again).send_signal(signal.SIGKILL)
    again = platform.wait_for_state(again, RunState.DONE)

    assert again.attempt == 2
    assert [point.digest for point in platform.client.checkpoints(again.id)] == [
        point.digest for point in platform.client.checkpoints(run.id)
    ]


def fill_disk(worker: WorkerProcess, size: int) -> None:
    """Leave no byte on a worker's own disk."""
    # As the worker sees it; never the disk of this machine.
    folder = Path(f"/proc/{worker.process.pid}/root/{worker.work_dir}")
    assert shutil.disk_usage(folder).total == size
    with suppress(OSError), (folder / "filler").open("wb", buffering=0) as filler:
        for _ in range(size // 4096):
            filler.write(bytes(4096))
    assert shutil.disk_usage(folder).free == 0


def test_a_disk_that_is_full_at_a_checkpoint_ends_the_run_and_keeps_what_was_saved(
    platform: Platform,
) -> None:
    platform.publish("vowels", VOWELS)
    worker = platform.start_worker(disk=DISK)
    run = platform.submit("vowels", **SETTINGS, max_steps=30, save_at_steps=[2, 30])
    wait_for(lambda: saved_steps(platform, run) == [2])

    fill_disk(worker, DISK)
    run = platform.wait_for_state(run, RunState.FAILED)

    assert run.error is not None
    assert run.error.code == "unavailable_storage_full"
    assert "Free some space" in str(run.error.hint)
    assert run.step == 30
    assert saved_steps(platform, run) == [2]


def test_a_run_that_is_cancelled_while_it_samples_ends_at_once(patient_platform: Platform) -> None:
    platform = patient_platform
    platform.publish("vowels", VOWELS)
    worker = platform.start_worker()
    # Minutes of sampling: nothing ends a turn before its thousandth token.
    long = {"batch_size": 16, "group_size": 16, "max_completion_tokens": 900}
    run = platform.submit("vowels", **{**SETTINGS, **long, "stop_sequences": []}, max_steps=2)
    job = worker.job(run)
    wait_for(lambda: platform.client.run(run.id).phase is Phase.ROLLOUTS)

    platform.client.cancel_run(run.id)

    platform.wait_for_state(run, RunState.CANCELLED)
    assert gone(job)
    assert outcomes(platform, run) == ["cancelled"]
