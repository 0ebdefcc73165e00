import math

import pytest

from freesolo.environments.answers import Answer
from freesolo.errors import EnvironmentFailed
from freesolo.runtime.values import (
    PER_TURN_REWARDS,
    read_facts,
    read_messages,
    read_score,
    read_scores,
    read_step,
    read_suites,
    read_turns,
)

MESSAGE = {"role": "user", "content": "q"}
REWARD = {"reward": 1.0, "success": True, "metadata": {}, "note": None}
STEP = {"done": True, "messages": [], "final_response_text": None, "metadata": {}}
THOUGHT = {"completion": "a", "thinking": "so", "raw": "<think>so</think>a"}


@pytest.mark.parametrize(
    "value",
    [
        None,
        1.0,
        [],
        {**REWARD, "reward": "1"},
        {**REWARD, "reward": True},
        {**REWARD, "reward": math.nan},
        {**REWARD, "reward": 10**400},
        {**REWARD, "metadata": None},
        {"reward": 1.0},
    ],
)
def test_whatever_the_child_says_only_a_finite_number_is_a_reward(value: object) -> None:
    score = read_score(value, 1)

    assert (score.reward, score.success) == (None, None)
    assert isinstance(score.error, EnvironmentFailed)


def test_an_error_that_a_reward_reports_is_told_with_what_to_return_instead() -> None:
    score = read_score({"failed": "no judge"}, 1)

    assert (score.reward, score.raised) == (None, False)
    assert score.error is not None
    assert "no judge" in score.error.message
    assert "`reason`" in (score.error.hint or "")


@pytest.mark.parametrize(
    "value", [None, {}, [], {"rewards": [REWARD] * 2}, {"rewards": [REWARD] * 3, "seconds": 1.0}]
)
def test_there_must_be_a_reward_for_every_answer(value: object) -> None:
    with pytest.raises(EnvironmentFailed):
        read_scores(value, "score_responses", [1, 1])


@pytest.mark.parametrize("value", [None, {}, {"done": True}, [STEP], {**STEP, "done": 1}])
def test_a_step_says_what_it_must(value: object) -> None:
    with pytest.raises(EnvironmentFailed, match="something else"):
        read_step(value)


@pytest.mark.parametrize("text", [3, {"completion": "a"}, {**THOUGHT, "thinking": None}])
def test_the_text_to_score_is_an_answer(text: object) -> None:
    with pytest.raises(EnvironmentFailed, match="something else"):
        read_step({**STEP, "final_response_text": text})


def test_a_step_may_keep_the_thinking_of_an_answer() -> None:
    step = read_step({**STEP, "final_response_text": THOUGHT})

    assert isinstance(step.final_response_text, Answer)
    assert step.final_response_text.thinking == "so"


@pytest.mark.parametrize("turns", [0, -1, True, 1.0, "1", None])
def test_an_episode_has_a_whole_number_of_turns(turns: object) -> None:
    with pytest.raises(EnvironmentFailed, match="max_episode_turns"):
        read_turns(turns)


@pytest.mark.parametrize("number", [math.inf, math.nan, 10**400, "1", True, None])
def test_credit_for_a_turn_is_a_finite_number(number: object) -> None:
    score = read_score({**REWARD, "metadata": {PER_TURN_REWARDS: [number]}}, 1)

    assert (score.reward, score.metadata[PER_TURN_REWARDS]) == (1.0, None)
    assert score.note is not None


@pytest.mark.parametrize("value", [None, {}, {"multi_turn": True}, {"multi_turn": 1}])
def test_a_process_says_what_it_has_loaded(value: object) -> None:
    with pytest.raises(EnvironmentFailed):
        read_facts(value)


@pytest.mark.parametrize(
    "value",
    [
        None,
        [3],
        [{"name": "a"}],
        [{"name": "a", "cases": [3], "grades_episodes": False}],
        [{"name": "a", "cases": [{"messages": []}], "grades_episodes": False}],
        [{"name": "a", "cases": [], "grades_episodes": False}] * 2,
    ],
)
def test_suites_must_have_names_of_their_own_and_well_formed_cases(value: object) -> None:
    with pytest.raises(EnvironmentFailed):
        read_suites(value)


def test_a_case_without_an_id_is_known_by_its_place() -> None:
    (suite,) = read_suites(
        [
            {
                "name": "a",
                "cases": [{"id": None, "messages": [MESSAGE]}],
                "grades_episodes": True,
            }
        ]
    )

    assert suite.cases[0].id == "example_000000"
    assert suite.cases[0].expected is None
    assert suite.grades_episodes


def test_a_message_that_only_calls_tools_needs_no_content() -> None:
    messages = [{"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}]

    assert read_messages(messages, "sft_completion") == messages
