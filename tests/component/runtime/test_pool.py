"""Several processes behind one host."""

import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from freesolo.runtime.client import EnvironmentHost, HostOptions, SandboxMode, open_pool
from tests.environment_folders import write_environment

# Tells which process scored; "meet" waits until as many of them are at it as the answer says.
TELLING = """
import os
import pathlib
import time

from freesolo.environments import EnvironmentSingleTurn, RewardResult


class Telling(EnvironmentSingleTurn):
    dataset = [{"input": str(n), "output": str(n)} for n in range(4)]
    max_score_concurrency = 1

    def __init__(self, meeting):
        self.meeting = pathlib.Path(meeting)

    def build_prompt_messages(self, example, prompt_text):
        return [{"role": "user", "content": example.input}]

    def score_response(self, example, text):
        if text == "leave":
            os._exit(3)
        if text.startswith("meet"):
            (self.meeting / str(os.getpid())).touch()
            while len(list(self.meeting.iterdir())) < int(text.split()[1]):
                time.sleep(0.005)
        return RewardResult(float(text == example.output), {"process": os.getpid()})


def load_environment(meeting):
    return Telling(meeting)
"""

GROUP = TELLING.replace(
    "def load_environment",
    """    def score_responses(self, example, texts):
        return [RewardResult(len(texts), {"process": os.getpid()}) for _ in texts]


def load_environment""",
)


def opened(folder: Path, cache_dir: Path, code: str = TELLING, *, size: int) -> EnvironmentHost:
    (folder / "meeting").mkdir()
    return open_pool(
        write_environment(folder / "environment", code),
        HostOptions(cache_dir, sandbox=SandboxMode.OFF, call_timeout=20),
        size=size,
        params={"meeting": str(folder / "meeting")},
    )


@pytest.fixture
def pool(tmp_path: Path, cache_dir: Path) -> Iterator[EnvironmentHost]:
    with opened(tmp_path, cache_dir, size=3) as pool:
        yield pool


def test_calls_of_several_threads_run_side_by_side(pool: EnvironmentHost) -> None:
    example = pool.examples()[0]
    processes: list[int] = []

    def score() -> None:
        processes.extend(
            result.metadata["process"] for result in pool.score_responses(example, ["meet 3"])
        )

    threads = [threading.Thread(target=score) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(set(processes)) == 3


def test_the_answers_of_one_call_are_spread_and_come_back_in_order(pool: EnvironmentHost) -> None:
    example = pool.examples()[2]

    scores = pool.score_responses(example, ["meet 3", "2", "meet 3", "2", "meet 3", "2", "x"])

    assert [score.reward for score in scores] == [0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0]
    assert len({score.metadata["process"] for score in scores}) == 3


def test_a_group_that_is_scored_in_one_call_is_not_spread(tmp_path: Path, cache_dir: Path) -> None:
    with opened(tmp_path, cache_dir, GROUP, size=2) as pool:
        scores = pool.score_responses(pool.examples()[0], ["a", "b", "c"])

    assert [score.reward for score in scores] == [3.0, 3.0, 3.0]
    assert len({score.metadata["process"] for score in scores}) == 1


def test_a_process_that_is_lost_is_replaced(pool: EnvironmentHost) -> None:
    example = pool.examples()[1]

    scores = pool.score_responses(example, ["1", "leave", "1", "1", "leave", "1"])

    assert [score.reward for score in scores] == [1.0, None, 1.0, 1.0, None, 1.0]
    again = pool.score_responses(example, ["meet 3", "meet 3", "meet 3"])
    assert [score.reward for score in again] == [0.0, 0.0, 0.0]


def test_a_process_is_started_when_it_is_needed(tmp_path: Path, cache_dir: Path) -> None:
    before = set(psutil.Process().children())

    with opened(tmp_path, cache_dir, size=8) as pool:
        pool.score_responses(pool.examples()[0], ["0"])
        assert len(set(psutil.Process().children()) - before) == 1

    assert set(psutil.Process().children()) == before


def test_a_closed_pool_leaves_no_process_and_starts_none(tmp_path: Path, cache_dir: Path) -> None:
    before = set(psutil.Process().children(recursive=True))
    pool = opened(tmp_path, cache_dir, size=3)
    example = pool.examples()[0]
    pool.score_responses(example, ["meet 3"] * 3)

    pool.close()

    assert set(psutil.Process().children(recursive=True)) == before
    with pytest.raises(RuntimeError, match="closed"):
        pool.start_episode(example)
