"""`kill -9` at random moments, whatever a run is doing then, by algorithm."""

import pytest

from tests.component.worker.test_grpo import SETTINGS, VOWELS
from tests.component.worker.test_training import COUNT
from tests.killing import Work, check_equal, check_nothing_left, random_moments, train
from tests.platforms import Platform

SFT = Work("count", COUNT, {"max_steps": 60, "save_every": 10})
GRPO = Work("vowels", VOWELS, {**SETTINGS, "max_steps": 8, "save_every": 2})


@pytest.mark.parametrize(
    ("work", "kills", "trains"), [(SFT, 3, False), (GRPO, 2, True)], ids=["sft", "grpo"]
)
def test_a_run_that_is_killed_at_random_moments_comes_to_the_same_end(
    platform: Platform, work: Work, kills: int, trains: bool
) -> None:
    platform.publish(work.name, work.source)
    worker = platform.start_worker()
    undisturbed, worker = train(platform, worker, work, [])

    moments = list(random_moments(3, kills, undisturbed, trains=trains))
    killed, worker = train(platform, worker, work, moments)

    assert killed.kills
    check_equal(killed, undisturbed)
    check_nothing_left(worker)
