"""Runs of the tiny model through a real hub and a real worker process."""

import json
import signal

from freesolo.domain.lifecycle import RunState
from freesolo.domain.packaging import ARTIFACT_LIMITS
from freesolo.package.archive import inspect_archive
from freesolo.schemas.runs import EventKind, Run
from hub_server.models import Checkpoint
from tests.hubs import resources_of
from tests.killing import check_nothing_left
from tests.platforms import Platform, wait_for

COUNT = '''
    """Say the number that follows."""

    from freesolo.environments import EnvironmentSingleTurn, RewardResult


    class Count(EnvironmentSingleTurn):
        dataset = [{"input": f"After {n}?", "output": str(n + 1)} for n in range(7)]

        def build_prompt_messages(self, example, prompt_text):
            return [{"role": "user", "content": example.input}]

        def score_response(self, example, response, **kwargs):
            return RewardResult(score=float(response == example.output))


    def load_environment(**params):
        return Count()
'''

HIGHER = '''
    """Find a number."""

    from freesolo.environments import EnvironmentMultiTurn, EnvironmentStepResult, RewardResult

    GOLD = [
        {"role": "assistant", "content": "2"},
        {"role": "user", "content": "higher"},
        {"role": "assistant", "content": "3"},
    ]


    class Higher(EnvironmentMultiTurn):
        dataset = [{"input": f"{n} to 3?", "output": GOLD} for n in range(4)]

        def start_episode(self, example, prompt_text):
            return [{"role": "user", "content": example.input}]

        def max_episode_turns(self, example):
            return 2

        def step_episode(self, example, messages, assistant_response):
            return EnvironmentStepResult(
                done=assistant_response == "3", messages=({"role": "user", "content": "higher"},)
            )

        def score_episode(self, example, episode):
            return RewardResult(float(episode.response_text == "3"))


    def load_environment(**params):
        return Higher()
'''

ADAPTER_FILES = (
    *("adapter_config.json", "adapter_model.safetensors", "fingerprint.json"),
    "provenance.json",
)


def saved_steps(platform: Platform, run: Run) -> list[int]:
    return [checkpoint.step for checkpoint in platform.client.checkpoints(run.id)]


def adapter_files(platform: Platform, run: Run, step: int) -> dict[str, bytes]:
    """Return the files of an adapter, from the hub's own store."""
    resources = resources_of(platform.hub.app)
    with resources.sessions.begin() as session:
        checkpoint = session.get_one(Checkpoint, (run.id, step))
        digest = checkpoint.adapter.archive_digest.removeprefix("sha256:")
    blob = platform.hub.data_dir / "blobs" / "sha256" / digest[:2] / digest
    return inspect_archive(blob, ARTIFACT_LIMITS, keep=ADAPTER_FILES).kept


def test_a_run_is_trained_and_trained_again_to_the_same_bytes_after_kill_9(
    platform: Platform,
) -> None:
    platform.publish("count", COUNT)
    worker = platform.start_worker()
    settings = {"max_steps": 100, "save_at_steps": [2, 100]}

    # The whole way, undisturbed.
    run = platform.wait_for_state(platform.submit("count", **settings), RunState.DONE)

    assert run.error is None
    assert (run.attempt, run.step, run.total_steps) == (1, 100, 100)
    assert saved_steps(platform, run) == [2, 100]
    assert {"loss", "learning_rate", "num_tokens", "time/step"} <= set(run.metrics)
    steps = [event.step for event in platform.events(run) if event.kind is EventKind.METRICS]
    assert steps == list(range(1, 101))

    # What was saved says what it was made from, and nothing about this run or machine.
    files = adapter_files(platform, run, 100)
    provenance = json.loads(files["provenance.json"])
    assert set(files) == set(ADAPTER_FILES)
    assert provenance["environment"]["tree_digest"] == run.environment.tree_digest
    assert run.id.encode() not in files["provenance.json"]
    assert str(platform.folder).encode() not in files["adapter_config.json"]

    # The same work again, killed after its first checkpoint: it goes on from there.
    again = platform.submit("count", **settings)
    wait_for(lambda: saved_steps(platform, again) == [2])
    worker.job(again).send_signal(signal.SIGKILL)
    again = platform.wait_for_state(again, RunState.DONE)

    events = platform.events(again)
    resumed = [event.step for event in events if event.attempt == 2 and event.step]
    assert again.attempt == 2
    assert resumed == list(range(3, 101))
    assert any("was killed (SIGKILL)" in str(event.data.get("message")) for event in events)
    assert [point.digest for point in platform.client.checkpoints(again.id)] == [
        point.digest for point in platform.client.checkpoints(run.id)
    ]
    check_nothing_left(worker)


def test_gold_episodes_of_several_turns_teach_what_the_model_says_in_them(
    platform: Platform,
) -> None:
    platform.publish("higher", HIGHER)
    platform.start_worker()

    run = platform.wait_for_state(platform.submit("higher", max_steps=2), RunState.DONE)

    # In each of two turns a digit, and the end of the turn.
    assert run.metrics["supervised_tokens_per_row"] == 4
    assert run.metrics["padding_share"] == 0
