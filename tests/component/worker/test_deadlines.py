"""How long an environment may take for a call, told by the config of a run."""

from freesolo.domain.lifecycle import RunState
from freesolo.schemas.runs import Run
from tests import tiny_model
from tests.component.worker.test_watching import SLOW_REWARD
from tests.platforms import Platform

# Longer than one of them may take, and shorter than the other may.
SLOW_JUDGE = SLOW_REWARD.replace("3600)", "2)\n            return RewardResult(score=0.0)")


def submit(platform: Platform, seconds: float) -> Run:
    return platform.client.create_run(
        {
            "model": tiny_model.MODEL_ID,
            "environment": {"id": "local/slow", "timeout_seconds": seconds},
            "train": {"lora_rank": 4},
        }
    )


def test_a_judge_has_as_long_as_the_config_gives_it(platform: Platform) -> None:
    platform.publish("slow", SLOW_JUDGE)
    hurried, patient = submit(platform, 1), submit(platform, 30)
    platform.start_worker()

    errors = [platform.wait_for_state(run, RunState.FAILED).error for run in (hurried, patient)]

    assert errors[0] is not None
    assert "gave no answer within 1 seconds" in errors[0].message
    # It was heard to its end, which is that it is worth nothing.
    assert errors[1] is not None
    assert "no answer" not in errors[1].message
