"""What GRPO makes of groups that tell nothing."""

from typing import Any

import pytest

from freesolo.domain.train_tables import GrpoTable
from freesolo.errors import EnvironmentFailed
from training_backend.recipes.grpo import GroupPractice


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
