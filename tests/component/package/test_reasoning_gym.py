"""The bridge to reasoning-gym, with the library itself in a virtual environment of its own."""

from dataclasses import replace
from pathlib import Path

import pytest

from freesolo.errors import TaskNotFound
from freesolo.package.bridges.reasoning_gym import ReasoningGymTask, find_task
from freesolo.package.checks import check_folder
from freesolo.package.findings import Severity
from freesolo.package.templates import write_environment
from freesolo.runtime.client import EnvironmentHost, HostOptions, open_host

ASKED = {"size": 30, "max_animals": 4}


@pytest.fixture(scope="module")
def task(options: HostOptions) -> ReasoningGymTask:
    """A task of the library."""
    return find_task("leg_counting", options)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, task: ReasoningGymTask) -> Path:
    """The task as an environment of ours."""
    folder = tmp_path_factory.mktemp("bridged") / "legs"
    write_environment(task, folder, name="legs", org="local")
    return folder


def open_legs(folder: Path, options: HostOptions) -> EnvironmentHost:
    return open_host(folder, options, params=ASKED)


def test_a_task_that_is_not_there_is_told_with_the_nearest(options: HostOptions) -> None:
    with pytest.raises(TaskNotFound, match="has no task 'leg_count'") as refusal:
        find_task("leg_count", options)

    assert refusal.value.hint == "Did you mean `leg_counting`?"


def test_a_task_comes_with_what_its_configuration_takes(
    task: ReasoningGymTask, folder: Path
) -> None:
    assert task.config["max_animals"] == "10"
    assert "- `max_animals = 10`" in (folder / "README.md").read_text()


def test_the_library_makes_the_rows_as_hard_as_asked_and_scores_them(
    folder: Path, options: HostOptions
) -> None:
    with open_legs(folder, options) as host:
        rows = list(host.examples())
        answers = [str(rows[0].output), "<answer>-1</answer>", "no tags"]
        scores = host.score_responses(rows[0], answers)

    assert len(rows) == 30
    assert all(len(row.record["entry"]["metadata"]["animals"]) <= 4 for row in rows)
    assert [score.reward for score in scores] == [1.0, 0.0, 0.0]
    assert [score.success for score in scores] == [True, False, False]


def test_no_question_is_held_out_and_trained_on(folder: Path, options: HostOptions) -> None:
    with open_legs(folder, options) as host:
        asked = {row.input for row in host.examples()}
        (suite,) = host.suites()
        held_out = [str(case.messages[-1]["content"]) for case in suite.cases]

    assert len(held_out) == 100
    assert not any(question in prompt for question in asked for prompt in held_out)


def test_the_environment_is_sound(folder: Path, options: HostOptions) -> None:
    report = check_folder(folder, replace(options, call_timeout=30))

    assert [found for found in report.findings if found.severity is not Severity.INFO] == []
