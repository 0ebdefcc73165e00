"""The rules for rows: what repeats, contradicts, says nothing, or was to be held out."""

from dataclasses import replace

import pytest

from freesolo.datasets import TaskExample, load_dataset
from freesolo.package.dataset_checks import (
    Question,
    check_held_out,
    check_rows,
    check_think_tags,
    question_of,
)
from freesolo.package.findings import Finding


def examples(*rows: dict[str, object]) -> list[TaskExample]:
    return load_dataset(list(rows)).examples


def codes(*rows: dict[str, object]) -> dict[str, tuple[int, ...]]:
    """Return the rows of each finding by its code."""
    findings = check_rows(examples(*rows), multi_turn=False).findings
    return {finding.code: finding.rows for finding in findings if finding.code != "few_rows"}


def row(question: object = "a", answer: object = "b", **more: object) -> dict[str, object]:
    return {"input": question, "output": answer, **more}


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([row(), row()], {"duplicate_rows": (1,)}),
        ([row(id="1"), row(id="2")], {"duplicate_rows": (1,)}),
        ([row(), row(metadata={"n": 1})], {}),
        ([row(), row(context="c")], {}),
        ([row(), row(answer="c"), row()], {"duplicate_rows": (2,)}),
        ([row("a b"), row("A  B")], {"similar_rows": (1,)}),
        ([row("a b"), row("A  B", "c")], {"similar_rows": (1,)}),
        ([row({"x": 1, "y": 2}), row({"y": 2, "x": 1})], {"duplicate_rows": (1,)}),
        ([row(), row("")], {"input_empty": (1,)}),
        ([row(), row("", metadata={"seed": 1})], {}),
        ([row(), row("c", " ")], {"output_empty": (1,)}),
        ([row(), row("c", [])], {}),
        ([row(), {"input": "c"}], {}),
        (
            [row(answer={"messages": [{"role": "assistant", "content": ""}]})],
            {"output_empty": (0,)},
        ),
    ],
)
def test_rows_are_compared_by_all_they_hold(
    rows: list[dict[str, object]], expected: dict[str, tuple[int, ...]]
) -> None:
    assert codes(*rows) == expected


def test_few_rows_are_mentioned() -> None:
    few = check_rows(examples(*(row(str(n)) for n in range(19))), multi_turn=True)
    enough = check_rows(examples(*(row(str(n)) for n in range(20))), multi_turn=True)

    assert [finding.code for finding in few.findings] == ["few_rows"]
    assert enough.findings == []


def test_rows_that_contradict_others_are_told_with_the_first_of_those() -> None:
    rows = examples(row("x"), row(), row(answer="c"), row(answer="c", context="d"), row(answer="e"))

    assert check_rows(rows, multi_turn=False).contradictions == [(2, 1), (4, 1)]


@pytest.mark.parametrize(
    ("answers", "share", "found"),
    [
        ("y" * 27 + "n" * 3, 0.9, True),
        ("y" * 26 + "n" * 4, 26 / 30, False),
        ("y" * 30, 1.0, True),
        ("y" * 19, None, False),
        ("yn" + "".join(chr(200 + n) for n in range(28)), None, False),
    ],
)
def test_answers_that_are_labels_are_weighed(
    answers: str, share: float | None, found: bool
) -> None:
    rows = examples(*(row(str(n), answer) for n, answer in enumerate(answers)))

    checks = check_rows(rows, multi_turn=False)

    assert checks.facts.largest_share == share
    assert ("labels_unbalanced" in [finding.code for finding in checks.findings]) is found


def asked(text: str) -> Question:
    return question_of([{"role": "user", "content": text}])


def leaked(prompts: list[str], case: str) -> list[Finding]:
    questions = {n: replace(asked(text), row=n) for n, text in enumerate(prompts)}
    return list(check_held_out(questions, [asked(case)]))


@pytest.mark.parametrize(
    ("case", "codes"),
    [
        ("What is 2 + 2?", ["heldout_overlap"]),
        ("what  is 2 + 2?\n", ["heldout_overlap"]),
        ("What is 2 + 2", ["heldout_similar"]),
        ("What is 2 - 2?", []),
        ("What is 22?", []),
    ],
)
def test_a_held_out_question_is_found_among_prompts(case: str, codes: list[str]) -> None:
    findings = leaked(["What is 1 + 1?", "What is 2 + 2?"], case)

    assert [finding.code for finding in findings] == codes
    assert all(finding.rows == (1,) for finding in findings)


def test_a_prompt_that_many_rows_share_shows_nothing() -> None:
    assert leaked(["Guess my number.", "Guess my number."], "Guess my number.") == []


def test_a_question_that_is_there_twice_is_found_twice() -> None:
    (example,) = examples(row("What is 2 + 2?"))
    question = question_of([{"role": "user", "content": example.input}], example)

    (finding,) = check_held_out({0: question, 1: question}, [asked("What is 2 + 2?")])

    assert finding.rows == (0, 1)


def test_parts_of_text_are_read_as_their_text() -> None:
    parts = [{"type": "text", "text": "Hello "}, {"type": "text", "text": "there"}]

    assert question_of([{"role": "user", "content": parts}]) == asked("hello there")


def test_gold_answers_without_thinking_are_found() -> None:
    rows = examples(row(answer="<think>so</think> b"), row(answer="b"), {"input": "a"})

    (finding,) = check_think_tags(rows, "configs/sft.toml")

    assert finding.rows == (1,)
