"""Runs of GRPO on the tiny model, through a real hub and a real worker process."""

import signal

from freesolo.domain.lifecycle import RunState
from freesolo.schemas.runs import EventKind
from tests.component.worker.test_training import saved_steps
from tests.platforms import Platform, wait_for

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
