"""Episodes through a real host: the loop, its ends, its record, and playing it again."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from freesolo.datasets import TaskExample
from freesolo.datasets.types import Message
from freesolo.environments.answers import Answer, split_thinking
from freesolo.errors import InvalidInput, NotFound, Unavailable
from freesolo.runtime.client import EnvironmentHost, HostOptions, SandboxMode, open_host
from freesolo.runtime.episodes import (
    Ending,
    Transcript,
    act,
    begin,
    play,
    read_transcript,
    replay,
    score,
)
from tests.component.runtime.conftest import OpenHost
from tests.environment_folders import OBEDIENT, write_environment

# The model counts up to the row's number; the environment says what it heard.
COUNTING = """
import os
import random
import time

from freesolo.environments import EnvironmentMultiTurn, EnvironmentStepResult, RewardResult


class Counting(EnvironmentMultiTurn):
    dataset = [{"input": str(goal), "output": str(goal)} for goal in (1, 3)]
    calls = 0

    def start_episode(self, example, prompt_text):
        return [{"role": "user", "content": f"{prompt_text}Count to {example.input}."}]

    def max_episode_turns(self, example):
        return int(example.input) + 1

    def step_episode(self, example, messages, action):
        assert messages[-1] == {"role": "assistant", "content": action}
        self.calls += 1
        if action == "raise":
            raise ValueError("cannot count so")
        if action == "leave":
            os._exit(3)
        if action == "hang":
            time.sleep(3600)
        if action == "unusable":
            return {"done": True}
        said = [message["content"] for message in messages if message["role"] == "assistant"]
        heard = f"{len(said)}: {action}"
        if action == "dice":
            heard = str(random.random())
        if action == "summary":
            return EnvironmentStepResult(final_response_text=" ".join(said))
        if action == example.output:
            return EnvironmentStepResult(metadata={"thought": getattr(action, "thinking", None)})
        reply = {"role": "tool", "content": heard, "name": "ear", "tool_call_id": "1"}
        return EnvironmentStepResult(done=False, messages=(reply,), metadata={"heard": heard})

    def score_episode(self, example, episode):
        if episode.response_text == "bad reward":
            raise ValueError("no reward")
        metadata = {
            "per_turn_rewards": [0.5] * (0 if episode.response_text == "credit" else self.turns(episode)),
            "seen": episode.to_dict(),
            "thought": getattr(episode.response_text, "thinking", None),
        }
        return RewardResult(float(episode.response_text == example.output), metadata)

    def turns(self, episode):
        return sum(turn.role == "assistant" for turn in episode.turns)


def load_environment():
    return Counting()
"""


@pytest.fixture(scope="module")
def counting(
    tmp_path_factory: pytest.TempPathFactory, cache_dir: Path
) -> Iterator[EnvironmentHost]:
    folder = write_environment(tmp_path_factory.mktemp("counting"), COUNTING)
    options = HostOptions(cache_dir, sandbox=SandboxMode.OFF, call_timeout=2)
    with open_host(folder, options) as host:
        yield host


@pytest.fixture
def to_three(counting: EnvironmentHost) -> TaskExample:
    return counting.examples()[1]


def saying(*actions: str) -> Callable[[list[Message]], str]:
    """A model that says these, in this order."""
    left = iter(actions)
    return lambda messages: next(left)


def heard(number: int, action: str) -> Message:
    return {"role": "tool", "content": f"{number}: {action}", "name": "ear", "tool_call_id": "1"}


def test_an_episode_goes_on_until_the_environment_says_it_is_done(
    counting: EnvironmentHost, to_three: TaskExample
) -> None:
    transcript = play(counting, to_three, saying("1", "2", "3"))

    assert transcript.ending is Ending.DONE
    assert transcript.messages == [
        {"role": "user", "content": "Count to 3."},
        {"role": "assistant", "content": "1"},
        heard(1, "1"),
        {"role": "assistant", "content": "2"},
        heard(2, "2"),
        {"role": "assistant", "content": "3"},
    ]
    assert transcript.metadata["steps"] == [{"heard": "1: 1"}, {"heard": "2: 2"}, {"thought": None}]


def test_the_model_is_asked_with_all_that_was_said(
    counting: EnvironmentHost, to_three: TaskExample
) -> None:
    asked = []

    def ask(messages: list[Message]) -> str:
        asked.append(messages)
        return str(len(asked))

    transcript = play(counting, to_three, ask, prompt_text="Please: ")

    assert asked[0] == [{"role": "user", "content": "Please: Count to 3."}]
    assert asked[2] == transcript.messages[:-1]


def test_an_episode_ends_at_the_turn_limit(
    counting: EnvironmentHost, to_three: TaskExample
) -> None:
    transcript = play(counting, to_three, saying("a", "b", "c", "d", "e"))

    assert transcript.ending is Ending.TURN_LIMIT
    assert transcript.actions == ("a", "b", "c", "d")
    assert transcript.messages[-1] == heard(4, "d")
    assert transcript.response_text == "d"


def test_the_environment_may_say_which_text_is_scored(
    counting: EnvironmentHost, to_three: TaskExample
) -> None:
    assert play(counting, to_three, saying("1", "summary")).response_text == "1 summary"


def test_the_scorer_sees_the_turns_that_were_sampled_and_answered(
    counting: EnvironmentHost, to_three: TaskExample
) -> None:
    (scored,) = score(counting, to_three, [play(counting, to_three, saying("1", "3"))])

    assert (scored.reward, scored.success) == (1.0, True)
    seen = scored.metadata["seen"]
    assert seen["response_text"] == "3"
    assert seen["turns"] == [
        {"role": "assistant", "content": "1"},
        {"role": "tool", "content": "1: 1", "name": "ear"},
        {"role": "assistant", "content": "3"},
    ]
    assert seen["metadata"] == {"steps": [{"heard": "1: 1"}, {"thought": None}]}
    assert len(seen["messages"]) == 4


def test_credit_for_each_turn_is_kept_if_there_is_one_number_for_each(
    counting: EnvironmentHost, to_three: TaskExample
) -> None:
    kept, dropped = score(
        counting,
        to_three,
        [play(counting, to_three, saying(*actions)) for actions in (("1", "3"), ("credit",) * 4)],
    )

    assert (kept.metadata["per_turn_rewards"], kept.note) == ([0.5, 0.5], None)
    assert dropped.metadata["per_turn_rewards"] is None
    assert "are 0 for 4 turns" in str(dropped.note)


@pytest.mark.parametrize(
    ("action", "said"),
    [
        ("raise", "raised ValueError: cannot count so"),
        ("leave", "exit status 3"),
        ("hang", "no answer within 2 seconds"),
        ("unusable", "a dict instead of an EnvironmentStepResult"),
    ],
)
def test_an_environment_that_fails_in_the_middle_ends_its_episode_and_no_other(
    counting: EnvironmentHost, to_three: TaskExample, action: str, said: str
) -> None:
    failed = play(counting, to_three, saying("1", action))
    sound = play(counting, to_three, saying("1", "3"))

    assert failed.ending is Ending.ENVIRONMENT_FAILED
    assert failed.actions == ("1", action)
    assert failed.failure is not None
    assert said in failed.failure.message
    unscorable, scored = score(counting, to_three, [failed, sound])
    assert (unscorable.reward, scored.reward) == (None, 1.0)
    assert said in str(unscorable.error)


def test_the_authors_traceback_is_part_of_the_record(
    counting: EnvironmentHost, to_three: TaskExample
) -> None:
    failed = play(counting, to_three, saying("raise"))

    assert failed.failure is not None
    assert "in step_episode" in str(failed.failure.traceback)


def test_an_episode_that_does_not_begin_is_over(host_of: OpenHost) -> None:
    host = host_of(COUNTING.replace('return [{"role"', "return 1 / 0, [{'role'"))

    transcript = play(host, host.examples()[0], saying())

    assert transcript.ending is Ending.ENVIRONMENT_FAILED
    assert "ZeroDivisionError" in str(transcript.failure)


@pytest.mark.parametrize("turns", ["0", "True", "None", "2.5"])
def test_an_episode_has_a_whole_number_of_turns(host_of: OpenHost, turns: str) -> None:
    host = host_of(COUNTING.replace("return int(example.input) + 1", f"return {turns}"))

    transcript = play(host, host.examples()[0], saying())

    assert "`max_episode_turns` returned" in str(transcript.failure)


def test_a_model_that_does_not_answer_ends_the_episode(
    counting: EnvironmentHost, to_three: TaskExample
) -> None:
    def ask(messages: list[Message]) -> str:
        raise Unavailable("The gateway is busy.")

    transcript = play(counting, to_three, ask)

    assert transcript.ending is Ending.MODEL_FAILED
    assert transcript.failure is not None
    assert transcript.failure.message == "The gateway is busy."


def test_what_would_fail_every_episode_alike_is_raised(
    counting: EnvironmentHost, to_three: TaskExample
) -> None:
    def ask(messages: list[Message]) -> str:
        raise NotFound("There is no such model.")

    with pytest.raises(NotFound):
        play(counting, to_three, ask)


def test_many_episodes_can_be_under_way_at_once(
    counting: EnvironmentHost, to_three: TaskExample
) -> None:
    first, second = begin(counting, to_three), begin(counting, to_three)

    for one, other in (("1", "a"), ("2", "b"), ("3", "3")):
        first = act(counting, to_three, first, one)
        second = act(counting, to_three, second, other)

    scores = score(counting, to_three, [first, second])
    assert [scored.reward for scored in scores] == [1.0, 1.0]
    assert second.messages[3:5] == [{"role": "assistant", "content": "b"}, heard(2, "b")]


def test_an_episode_that_has_ended_takes_no_action(
    counting: EnvironmentHost, to_three: TaskExample
) -> None:
    over = play(counting, to_three, saying("3"))

    with pytest.raises(ValueError, match="has ended: done"):
        act(counting, to_three, over, "4")


def test_an_episode_that_goes_on_cannot_be_scored(
    counting: EnvironmentHost, to_three: TaskExample
) -> None:
    with pytest.raises(ValueError, match="goes on"):
        score(counting, to_three, [begin(counting, to_three)])


def test_thinking_reaches_the_step_and_the_reward_but_not_the_messages(
    counting: EnvironmentHost, to_three: TaskExample
) -> None:
    transcript = play(counting, to_three, saying(split_thinking("<think>easy</think>3")))

    (scored,) = score(counting, to_three, [transcript])

    assert transcript.messages[-1] == {"role": "assistant", "content": "3"}
    assert transcript.metadata["steps"] == [{"thought": "easy"}]
    assert (scored.reward, scored.metadata["thought"]) == (1.0, "easy")


def test_a_single_answer_is_an_episode_of_one_turn(host_of: OpenHost) -> None:
    thoughtful = OBEDIENT.replace(
        "RewardResult(float(response_text == example.output))",
        "RewardResult(float(response_text == example.output), {'thought': response_text.thinking})",
    )
    host = host_of(thoughtful)
    example = host.examples()[0]

    transcript = play(host, example, saying(Answer("answer 0", thinking="hm")))

    assert transcript.ending is Ending.DONE
    (scored,) = score(host, example, [transcript])
    assert (scored.reward, scored.metadata) == (1.0, {"thought": "hm"})


@pytest.mark.parametrize("actions", [("1", "3"), ("1", "raise"), ("a", "b", "c", "d")])
def test_a_transcript_survives_being_written_down(
    counting: EnvironmentHost, to_three: TaskExample, actions: tuple[str, ...]
) -> None:
    transcript = play(counting, to_three, saying(*actions))

    again = read_transcript(json.loads(json.dumps(transcript.document())))

    assert again == transcript


def test_thinking_survives_being_written_down(
    counting: EnvironmentHost, to_three: TaskExample
) -> None:
    transcript = play(counting, to_three, saying(Answer("3", thinking="easy", raw="easy so 3")))

    (action,) = read_transcript(json.loads(json.dumps(transcript.document()))).actions

    assert isinstance(action, Answer)
    assert (action.thinking, action.raw) == ("easy", "easy so 3")


@pytest.mark.parametrize("document", [{}, {"turns": 3}, {"ending": "won"}])
def test_what_is_no_transcript_is_refused(
    counting: EnvironmentHost, to_three: TaskExample, document: dict[str, object]
) -> None:
    sound = begin(counting, to_three).document()

    with pytest.raises(InvalidInput, match="no transcript"):
        read_transcript(sound | document if document else document)


@pytest.mark.parametrize("actions", [("1", "3"), ("1", "raise"), ("a", "b", "c", "d")])
def test_a_deterministic_environment_replays_the_same(
    counting: EnvironmentHost, to_three: TaskExample, actions: tuple[str, ...]
) -> None:
    recorded = play(counting, to_three, saying(*actions))

    assert replay(counting, to_three, recorded) is None


def test_a_replay_tells_where_it_differs(counting: EnvironmentHost, to_three: TaskExample) -> None:
    recorded = play(counting, to_three, saying("1", "dice", "3"))

    divergence = replay(counting, to_three, recorded)

    assert divergence is not None
    assert (divergence.turn, divergence.what) == (2, "step")
    assert divergence.recorded != divergence.replayed


def test_an_episode_that_the_model_broke_off_replays_as_far_as_it_went(
    counting: EnvironmentHost, to_three: TaskExample
) -> None:
    def ask(messages: list[Message]) -> str:
        if len(messages) > 1:
            raise Unavailable("gone")
        return "1"

    recorded = play(counting, to_three, ask)

    assert len(recorded.turns) == 1
    assert replay(counting, to_three, recorded) is None


def test_a_replay_that_ends_elsewhere_differs(
    counting: EnvironmentHost, to_three: TaskExample
) -> None:
    recorded = play(counting, to_three, saying("1", "3"))

    shorter = Transcript(**{**vars(recorded), "turns": recorded.turns[:1]})

    divergence = replay(counting, to_three, shorter)
    assert divergence is not None
    assert (divergence.what, divergence.replayed) == ("ending", None)


def test_a_failed_score_of_one_episode_spares_the_others(
    counting: EnvironmentHost, to_three: TaskExample
) -> None:
    transcripts = [
        play(counting, to_three, saying(*actions)) for actions in (["bad reward"] * 4, ["3"])
    ]

    bad, good = score(counting, to_three, transcripts)

    assert "no reward" in str(bad.error)
    assert good.reward == 1.0


def test_episodes_of_held_out_cases_are_played_alike(host_of: OpenHost) -> None:
    evaluations = """
from freesolo.datasets import load_dataset
from freesolo.environments import EvalSuite, RewardResult


class Held(EvalSuite):
    def cases(self):
        return load_dataset([{"input": "2", "output": "2"}]).examples

    def score(self, case, response_text):
        return RewardResult(float(response_text == case.output))


def load_evaluations():
    return Held()
"""
    host = host_of(COUNTING, modules={"evaluations": evaluations})
    ((case,),) = (suite.cases for suite in host.suites())

    transcript = play(host, case, saying("1", "2"))

    assert transcript.ending is Ending.DONE
    assert host.max_episode_turns(case) == 3
    scored = host.score_case("Held", 0, transcript.response_text, transcript.episode())
    assert scored.reward == 1.0
