"""What GRPO makes of groups that tell nothing."""

from pathlib import Path
from typing import Any

import pytest

from freesolo.domain.train_tables import GrpoTable
from freesolo.errors import EnvironmentFailed
from freesolo.runtime.client import HostOptions, SandboxMode, open_host
from freesolo.runtime.episodes import Ending, Transcript, Turn
from freesolo.runtime.values import Score
from tests.component.training.test_rollouts import ECHO, SEED, Scripted
from tests.environment_folders import write_environment
from training_backend.chat import ChatFormat
from training_backend.recipes.grpo import GroupPractice
from training_backend.rollouts import Limits, Place, Rollout, Stage


def practice(*, hopeful: bool = False, **train: object) -> GroupPractice:
    nobody: Any = None
    return GroupPractice(nobody, nobody, GrpoTable.model_validate(train), hopeful=hopeful)


def test_a_run_in_which_no_group_ever_told_anything_is_in_vain() -> None:
    silent = practice()
    for _ in range(19):
        silent._refuse_vain([(0.0,), (0.0, 0.0)], [0.0, None])
    with pytest.raises(EnvironmentFailed, match="In 20 steps, no rollout was worth anything"):
        silent._refuse_vain([(0.0,)], [0.0])


def test_groups_may_be_silent_once_any_has_told_something() -> None:
    learning = practice()
    learning._refuse_vain([(0.5,), (-0.5,)], [0.0, -1.0])
    for _ in range(100):
        learning._refuse_vain([(0.0,), (0.0,)], [0.0, 0.0])


@pytest.mark.parametrize(("practice", "reward"), [(practice(), 1.0), (practice(hopeful=True), 0.0)])
def test_a_task_that_is_solved_and_a_run_that_goes_on_are_not_in_vain(
    practice: GroupPractice, reward: float
) -> None:
    for _ in range(100):
        practice._refuse_vain([(0.0,), (0.0,)], [reward, reward])


def test_long_thinking_costs_the_first_turn_of_a_rollout_that_is_credited_by_turn() -> None:
    rollout = Rollout(
        Place(1, 0, 0),
        Transcript("", (), 2, (Turn("a", None), Turn("b", None)), Ending.TURN_LIMIT),
        (),
        Score(2.0, None, metadata={"per_turn_rewards": [1.0, 1.0]}),
        thinking=10,
    )
    credited = practice(thinking_length_penalty_coef=0.05)._credited(rollout)

    assert (credited.reward, credited.turn_rewards) == (1.5, (0.5, 1.0))


def test_a_step_tells_what_was_learned_from_and_what_its_environment_took(
    chat: ChatFormat, tmp_path: Path
) -> None:
    lines = [["end"], ["a", "end"], ["a", "raise|"], ["hang"]]
    script = {(0, number): said for number, said in enumerate(lines)}
    folder = write_environment(tmp_path / "echo", ECHO)
    options = HostOptions(tmp_path / "cache", sandbox=SandboxMode.OFF, call_timeout=1.0)
    table = GrpoTable(batch_size=1, group_size=4)
    with open_host(folder, options) as host:
        stage = Stage(host, Scripted(chat, script), chat, Limits(30, 200), SEED)
        learned = GroupPractice(stage, host.examples(), table).practise(1, [0])

    # One was cut off, and one has no score: they teach nothing, and show no advantage.
    assert [sample.advantage is None for sample in learned.samples] == [False, False, True, True]
    told = learned.metrics
    # It hung in each of its two tries.
    assert told["rollout/timeouts"] == 2
    assert told["env/step_s"] > 2
    assert 0 < told["env/reset_s"] < told["env/step_s"]
    assert told["rollout/unscorable_frac"] == 0.25
    assert told["perf/weight_sync_s"] >= 0
    assert told["advantage/min"] < 0 <= told["advantage/max"]
