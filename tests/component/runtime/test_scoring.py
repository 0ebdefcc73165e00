"""Answers scored at once: what one does to another, and what each is given as the reason."""

from pathlib import Path

import pytest

from freesolo.environments.answers import Answer
from freesolo.runtime.client import EnvironmentHost, HostOptions, SandboxMode, open_host
from tests.component.runtime.conftest import OpenHost
from tests.environment_folders import OBEDIENT, write_environment

# Counts how often each answer was scored, across processes: it writes that down.
COUNTED = """
import os
import pathlib
import threading
import time

from freesolo.environments import EnvironmentSingleTurn, RewardResult


class Counted(EnvironmentSingleTurn):
    dataset = [{"input": "q", "output": "a"}]
    max_score_concurrency = CONCURRENCY

    def __init__(self, tally):
        self.tally = pathlib.Path(tally)

    def build_prompt_messages(self, example, prompt_text):
        return [{"role": "user", "content": example.input}]

    def normalize_response_text(self, example, text):
        return text.strip()

    def score_response(self, example, text):
        with self.tally.open("a") as file:
            file.write(f"{text}\\n")
        if text == "raise":
            raise ValueError("no such thing")
        if text == "leave":
            os._exit(3)
        if text == "hang":
            time.sleep(3600)
        if text == "exit":
            raise SystemExit(2)
        thread = threading.current_thread() is threading.main_thread()
        return RewardResult(float(text == "a"), {"main_thread": thread})


def load_environment(tally):
    return Counted(tally)
"""


class Counted:
    """A host that scores, and what its reward was asked."""

    def __init__(self, folder: Path, cache_dir: Path, *, concurrency: int, processes: int = 1):
        self._tally = folder / "tally"
        code = COUNTED.replace("CONCURRENCY", str(concurrency))
        options = HostOptions(
            cache_dir, sandbox=SandboxMode.OFF, call_timeout=1, processes=processes
        )
        self.host: EnvironmentHost = open_host(
            write_environment(folder / "environment", code),
            options,
            params={"tally": str(self._tally)},
        )

    def rewards(self, *answers: str) -> list[float | None]:
        example = self.host.examples()[0]
        return [score.reward for score in self.host.score_responses(example, answers)]

    def asked(self) -> list[str]:
        return sorted(self._tally.read_text().split())


@pytest.fixture(params=[1, 4], ids=["one-by-one", "four-at-once"])
def counted(request: pytest.FixtureRequest, tmp_path: Path, cache_dir: Path):  # type: ignore[no-untyped-def]
    counted = Counted(tmp_path, cache_dir, concurrency=request.param)
    with counted.host:
        yield counted


def test_an_answer_on_which_the_reward_raises_is_scored_once_as_are_the_others(
    counted: Counted,
) -> None:
    assert counted.rewards("a", "raise", "b", "exit") == [1.0, None, 0.0, None]
    assert counted.asked() == ["a", "b", "exit", "raise"]


def test_answers_that_hang_cost_one_deadline_and_keep_no_other_from_its_reward(
    counted: Counted,
) -> None:
    assert counted.rewards("a", "hang", "b", "a") == [1.0, None, 0.0, 1.0]
    assert counted.asked().count("hang") == 1
    assert counted.rewards("a") == [1.0]


def test_the_answer_that_ends_the_process_is_found_among_those_at_work(
    counted: Counted,
) -> None:
    assert counted.rewards("a", "b", "leave", "a", "a") == [1.0, 0.0, None, 1.0, 1.0]


def test_answers_are_normalised_before_they_are_scored(counted: Counted) -> None:
    assert counted.rewards(" a ") == [1.0]


def test_more_hang_than_are_scored_at_once(tmp_path: Path, cache_dir: Path) -> None:
    counted = Counted(tmp_path, cache_dir, concurrency=2)

    with counted.host:
        assert counted.rewards("hang", "hang", "a", "hang") == [None, None, 1.0, None]


@pytest.mark.parametrize(("concurrency", "expected"), [(1, True), (2, False)])
def test_a_reward_for_one_at_a_time_stays_on_the_main_thread(
    tmp_path: Path, cache_dir: Path, concurrency: int, expected: bool
) -> None:
    with Counted(tmp_path, cache_dir, concurrency=concurrency).host as host:
        scores = host.score_responses(host.examples()[0], ["a", "b"])

    assert [score.metadata["main_thread"] for score in scores] == [expected] * 2


def test_an_answer_that_comes_too_late_does_not_count(host_of: OpenHost) -> None:
    host = host_of(
        OBEDIENT.replace("class Obedient(", "began = {}\n\n\nclass Obedient(").replace(
            "    def build_prompt",
            """    max_score_concurrency = 2

    def wait_until(self, seconds):
        while time.monotonic() - began["late"] < seconds:
            time.sleep(0.01)
        return 1.0

    def build_prompt""",
        ),
        call_timeout=2,
    )

    scores = host.score_responses(
        host.examples()[0],
        [
            "return began.setdefault('late', time.monotonic()) and self.wait_until(2.2)",
            "return time.sleep(1.0) or 1.0",
            "return self.wait_until(2.4)",
        ],
    )

    assert [score.reward for score in scores] == [None, 1.0, 1.0]
    assert "no answer within 2 seconds" in str(scores[0].error)


GROUP = """
import os

from freesolo.environments import EnvironmentSingleTurn, RewardResult


class Ranked(EnvironmentSingleTurn):
    dataset = [{"input": "q"}]

    def build_prompt_messages(self, example, prompt_text):
        return [{"role": "user", "content": example.input}]

    def score_response(self, example, text):
        raise NotImplementedError

    def score_responses(self, example, texts):
        if "raise" in texts:
            raise ValueError("cannot rank")
        if "leave" in texts:
            os._exit(3)
        order = sorted(texts)
        return [RewardResult(order.index(text) / len(texts)) for text in texts]


def load_environment():
    return Ranked()
"""


def test_a_reward_that_compares_siblings_gets_all_of_them(host_of: OpenHost) -> None:
    host = host_of(GROUP)

    scores = host.score_responses(host.examples()[0], ["c", "a", "b", "d"])

    assert [score.reward for score in scores] == [0.5, 0.0, 0.25, 0.75]


@pytest.mark.parametrize("answer", ["raise", "leave"])
def test_a_group_that_cannot_be_scored_is_not_scored_in_pieces(
    host_of: OpenHost, answer: str
) -> None:
    host = host_of(GROUP)

    scores = host.score_responses(host.examples()[0], ["c", answer])

    assert [score.reward for score in scores] == [None, None]
    assert host.score_responses(host.examples()[0], ["c"])[0].reward == 0.0


def test_thinking_reaches_the_reward(host_of: OpenHost) -> None:
    host = host_of(
        OBEDIENT.replace(
            'if response_text == "hang":',
            "if getattr(response_text, 'raw', ''):\n"
            "            return RewardResult(float(response_text.thinking == 'so'),"
            " [response_text.completion, response_text.raw])\n"
            '        if response_text == "hang":',
        )
    )

    (plain, thought) = host.score_responses(
        host.examples()[0], ["answer 0", Answer("x", thinking="so", raw="<think>so</think>x")]
    )

    assert (plain.reward, thought.reward) == (1.0, 1.0)


def metadata_of(host_of: OpenHost, metadata: str) -> tuple[object, str | None]:
    host = host_of(
        OBEDIENT.replace(
            "RewardResult(float(response_text == example.output))", f"RewardResult(1.0, {metadata})"
        )
    )
    (score,) = host.score_responses(host.examples()[0], ["a"])
    assert score.reward == 1.0
    return score.metadata, score.note


def test_metadata_is_what_json_can_say_of_it(host_of: OpenHost) -> None:
    metadata, note = metadata_of(host_of, "{'parts': (1, {2}), 'when': time, 3: None}")

    assert isinstance(metadata, dict)
    assert (metadata["parts"], metadata["3"], note) == ([1, [2]], None, None)


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ("(lambda d: d.update(d=d) or d)({})", "ValueError"),
        ("{'text': 'x' * 2_000_000}", "characters"),
        ("'text'", "a str"),
    ],
    ids=["circular", "huge", "no-dictionary"],
)
def test_metadata_that_cannot_be_kept_costs_no_reward(
    host_of: OpenHost, metadata: str, said: str
) -> None:
    kept, note = metadata_of(host_of, metadata)

    assert kept == {}
    assert said in str(note)


@pytest.mark.parametrize(
    ("credit", "said"),
    [
        ("[1, 2]", "are 2 for 1 turns"),
        ("[float('nan')]", "hold nan"),
        ("['1']", "hold '1'"),
        ("[True]", "hold True"),
        ("1.0", "are not a list"),
    ],
)
def test_credit_by_turns_must_be_one_finite_number_for_each(
    host_of: OpenHost, credit: str, said: str
) -> None:
    metadata, note = metadata_of(host_of, f"{{'per_turn_rewards': {credit}, 'kept': 1}}")

    assert metadata == {"per_turn_rewards": None, "kept": 1}
    assert said in str(note)


def test_the_seconds_are_those_of_the_authors_code(host_of: OpenHost) -> None:
    host = host_of(OBEDIENT)

    slow, quick = host.score_responses(
        host.examples()[0], ["return time.sleep(0.2) or 1.0", "answer 0"]
    )

    assert slow.seconds >= 0.2 > quick.seconds
