import math

import pytest

from freesolo.errors import EnvironmentFailed
from freesolo.runtime.values import (
    read_messages,
    read_page,
    read_score,
    read_scores,
    read_suites,
)

MESSAGE = {"role": "user", "content": "q"}


@pytest.mark.parametrize(
    "value",
    [
        None,
        1.0,
        [],
        {"reward": "1", "success": True},
        {"reward": True, "success": True},
        {"reward": math.nan, "success": True},
        {"reward": 10**400, "success": True},
        {"reward": 1.0},
    ],
)
def test_whatever_the_child_says_only_a_finite_number_is_a_reward(value: object) -> None:
    score = read_score(value)

    assert (score.reward, score.success) == (None, None)
    assert isinstance(score.error, EnvironmentFailed)


@pytest.mark.parametrize("value", [None, {}, [], [{"reward": 1.0, "success": True}] * 3])
def test_there_must_be_a_reward_for_every_answer(value: object) -> None:
    with pytest.raises(EnvironmentFailed):
        read_scores(value, 2)


@pytest.mark.parametrize("rows", [None, [], [3], [{"unknown": 1}], [{"record": {}}]])
@pytest.mark.parametrize("total", [None, 0, 1])
def test_rows_must_be_examples(rows: object, total: object) -> None:
    with pytest.raises(EnvironmentFailed):
        read_page({"rows": rows, "total": total}, 0)


def test_rows_are_numbered_by_their_place_in_the_dataset_not_in_the_page() -> None:
    rows = [{"record": {}, "input": "q", "id": "whatever it says"}] * 2

    examples, total = read_page({"rows": rows, "total": 9}, 5)

    assert [example.id for example in examples] == ["example_000005", "example_000006"]
    assert total == 9


@pytest.mark.parametrize(
    "value",
    [
        None,
        [3],
        [{"name": "a"}],
        [{"name": "a", "cases": [3]}],
        [{"name": "a", "cases": [{"messages": []}]}],
        [{"name": "a", "cases": []}, {"name": "a", "cases": []}],
    ],
)
def test_suites_must_have_names_of_their_own_and_well_formed_cases(value: object) -> None:
    with pytest.raises(EnvironmentFailed):
        read_suites(value)


def test_a_case_without_an_id_is_known_by_its_place() -> None:
    (suite,) = read_suites([{"name": "a", "cases": [{"id": None, "messages": [MESSAGE]}]}])

    assert suite.cases[0].id == "example_000000"
    assert suite.cases[0].expected is None


def test_a_message_that_only_calls_tools_needs_no_content() -> None:
    messages = [{"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}]

    assert read_messages(messages, "sft_completion") == messages
