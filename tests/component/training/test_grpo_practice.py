"""What GRPO makes of groups that tell nothing."""

from pathlib import Path
from typing import Any

import pytest

from freesolo.domain.train_tables import GrpoTable
from freesolo.errors import EnvironmentFailed
from freesolo.runtime.client import HostOptions, SandboxMode, open_host
from tests.component.training.test_rollouts import ECHO, SEED, Scripted
from tests.environment_folders import write_environment
from training_backend.chat import ChatFormat
from training_backend.recipes.grpo import GroupPractice
from training_backend.rollouts import Limits, Stage


def practice() -> GroupPractice:
    nobody: Any = None
    return GroupPractice(nobody, nobody, GrpoTable(), nobody)


def test_a_run_in_which_no_group_ever_told_anything_is_in_vain() -> None:
    silent = practice()
    for _ in range(19):
        silent._refuse_vain([(0.0,), (0.0, 0.0)])
    with pytest.raises(EnvironmentFailed, match="In 20 steps, no two rollouts"):
        silent._refuse_vain([(0.0,)])


def test_groups_may_be_silent_once_any_has_told_something() -> None:
    learning = practice()
    learning._refuse_vain([(0.5,), (-0.5,)])
    for _ in range(100):
        learning._refuse_vain([(0.0,), (0.0,)])


def test_a_step_tells_what_was_learned_from_and_what_its_environment_took(
    chat: ChatFormat, tmp_path: Path
) -> None:
    lines = [["end"], ["a", "end"], ["a", "raise|"], ["hang"]]
    script = {(0, number): said for number, said in enumerate(lines)}
    folder = write_environment(tmp_path / "echo", ECHO)
    options = HostOptions(tmp_path / "cache", sandbox=SandboxMode.OFF, call_timeout=1.0)
    table = GrpoTable(batch_size=1, group_size=4)
    nobody: Any = None
    with open_host(folder, options) as host:
        stage = Stage(host, Scripted(chat, script), chat, Limits(30, 200), SEED)
        learned = GroupPractice(stage, host.examples(), table, nobody).practise(1, [0])

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
