from typing import Any

import pytest

from freesolo.datasets import (
    Dataset,
    TaskExample,
    load_dataset,
    stable_example_id,
    warn_missing_think_tags,
)
from freesolo.datasets.records import load_task_examples
from tests.contract.environment.clauses import clause


@clause("C7.13")
def test_examples_are_numbered_by_position_whatever_their_own_ids() -> None:
    rows: list[Any] = [{"input": "a", "id": "mine"}, TaskExample(record={}, input="b", id="other")]

    assert [example.id for example in load_task_examples(rows)] == [
        "example_000000",
        "example_000001",
    ]


@clause("C7.11")
def test_text_inputs_are_stripped_and_others_become_sorted_json() -> None:
    text, number = load_task_examples([{"input": "  hi "}, {"input": {"b": 2, "a": "é"}}])

    assert text.input == "hi"
    assert number.input == '{\n  "a": "\\u00e9",\n  "b": 2\n}'


@clause("C7.10")
def test_an_empty_input_is_accepted_and_a_missing_one_is_not() -> None:
    assert load_task_examples([{"input": ""}])[0].input == ""
    with pytest.raises(ValueError, match="Row 1: Each record must contain input, not only: prompt"):
        load_task_examples([{"input": ""}, {"prompt": "a"}])


@clause("C7.12")
def test_the_record_is_kept_as_it_was() -> None:
    row = {"input": 1, "output": "", "metadata": "not an object", "extra": [1]}

    example = load_task_examples([row])[0]

    assert example.record is row
    assert example.output == ""
    assert example.metadata == {}


@clause("C7.1")
def test_one_row_is_not_a_dataset() -> None:
    with pytest.raises(AttributeError, match="list of rows"):
        load_dataset({"input": "a"})  # type: ignore[dict-item]


@clause("C7.1")
def test_texts_are_not_rows() -> None:
    with pytest.raises(ValueError, match="must contain input"):
        load_dataset(["a"])  # type: ignore[list-item]


@clause("C8.5")
def test_missing_think_tags_are_warned_about_once() -> None:
    dataset = load_dataset(
        [
            {"input": "a", "output": "<think>x</think> y"},
            {"input": "b", "output": "y"},
            {"input": "<think></think>"},
        ]
    )

    with pytest.warns(UserWarning, match="1 gold answers lack"):
        assert warn_missing_think_tags(dataset.examples) == ["example_000001"]


@clause("C7.1")
def test_an_empty_dataset_is_a_dataset() -> None:
    assert load_dataset([]) == Dataset([])


@clause("C7.1")
def test_a_number_is_not_a_dataset() -> None:
    with pytest.raises(TypeError):
        load_dataset(3)  # type: ignore[arg-type]


@clause("C7.1")
def test_rows_may_come_from_anywhere() -> None:
    assert len(load_dataset({"input": str(n)} for n in range(3)).examples) == 3


@clause("C7.10")
def test_there_is_no_other_name_for_the_input() -> None:
    for row in ({"prompt": "a"}, {"input": None}, {}):
        with pytest.raises(ValueError, match="Each record must contain input"):
            load_dataset([row])


@clause("C7.12")
@pytest.mark.parametrize("output", ["", 0, False, [], {"a": 1}])
def test_an_output_is_kept_as_it_is(output: object) -> None:
    assert load_dataset([{"input": "a", "output": output}]).examples[0].output is output


@clause("C7.13")
def test_ids_grow_when_they_must() -> None:
    assert [stable_example_id(index) for index in (0, 1_000_000)] == [
        "example_000000",
        "example_1000000",
    ]


@clause("C8.5")
def test_thinking_of_the_user_does_not_count() -> None:
    output = [
        {"role": "user", "content": "<think></think>"},
        {"role": "assistant", "content": "<think>"},
        {"role": "assistant", "content": "</think>"},
    ]

    assert warn_missing_think_tags(load_dataset([{"input": "a", "output": output}]).examples) == []


@clause("C8.5")
def test_only_the_first_five_are_named() -> None:
    examples = load_dataset([{"input": "a", "output": "b"}] * 7).examples

    with pytest.warns(UserWarning, match=r"^7 .*example_000004$"):
        assert len(warn_missing_think_tags(examples)) == 7


@clause("C8.5")
def test_a_gold_answer_without_an_id_cannot_be_named() -> None:
    with pytest.raises(ValueError, match="id"):
        warn_missing_think_tags([TaskExample(record={}, input="a", output="b")])
