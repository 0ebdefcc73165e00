"""Wrong answers made of right ones: surely wrong, always the same, and none that says the same."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freesolo.package.perturbations import (
    Kind,
    Label,
    Perturbation,
    Question,
    labels_of,
    perturb,
    same_answer,
)

CAPITALS = [("Norway", "Oslo"), ("France", "Paris"), ("Japan", "Tokyo"), ("Peru", "Lima")]


def made(
    gold: str | None,
    *,
    golds: list[tuple[str, str]] = CAPITALS,
    asked: str = "Norway",
    row: int = 0,
) -> list[Perturbation]:
    """Return the answers made of a gold one."""
    question = Question(row, asked, f"What is the capital of {asked}?")
    return [*perturb(gold, question, labels_of(golds))]


def texts(answers: list[Perturbation], kind: Kind, *, wrong: bool = True) -> list[str]:
    """Return the answers of one kind."""
    return [answer.text for answer in answers if answer.kind is kind and answer.wrong is wrong]


def test_a_gold_answer_is_buried_among_all_others_neither_first_nor_last() -> None:
    answers = made("Oslo")

    assert texts(answers, Kind.OTHER_GOLD) == ["Paris", "Tokyo", "Lima"]
    assert texts(answers, Kind.EVERY_LABEL) == ["Paris Oslo Tokyo Lima"]
    assert texts(answers, Kind.LABEL_LINES) == ["Paris\nOslo\nTokyo\nLima"]


def test_of_two_labels_the_wrong_one_comes_first_and_last() -> None:
    answers = made("yes", golds=[("a", "yes"), ("b", "no")], asked="a")

    assert texts(answers, Kind.EVERY_LABEL) == ["no yes no"]


def test_each_row_gets_gold_answers_of_others_from_all_over_the_dataset() -> None:
    golds = [(f"word {n}", f"answer {n}") for n in range(100)]

    others = [texts(made("Oslo", golds=golds, row=row), Kind.OTHER_GOLD) for row in (0, 90)]

    assert others == [
        ["answer 0", "answer 35", "answer 70"],
        ["answer 90", "answer 25", "answer 60"],
    ]


def test_where_all_rows_have_one_answer_there_is_no_other() -> None:
    answers = made("Oslo", golds=[("Norway", "Oslo"), ("again", " oslo. ")])

    assert not {Kind.OTHER_GOLD, Kind.EVERY_LABEL, Kind.LABEL_LINES} & {
        answer.kind for answer in answers
    }


def test_another_right_answer_to_the_same_question_is_not_wrong() -> None:
    golds = [("a river", "Rhine"), ("a river", "Elbe"), ("a lake", "Como")]

    answers = made("Rhine", golds=golds, asked="a river")

    assert texts(answers, Kind.OTHER_GOLD) == ["Como"]
    assert texts(answers, Kind.EVERY_LABEL) == ["Como Rhine Como"]


def test_labels_remember_every_question_that_they_answer() -> None:
    assert labels_of([("a", "Yes"), ("b", "yes."), ("c", "no")]) == [
        Label("Yes", frozenset({"a", "b"})),
        Label("no", frozenset({"c"})),
    ]


def test_programs_are_not_put_one_below_the_other() -> None:
    golds = [("add", "def add(a, b):\n    return a + b"), ("neg", "def neg(a):\n    return -a")]

    answers = made(golds[0][1], golds=golds, asked="add")

    assert not texts(answers, Kind.LABEL_LINES)
    assert len(texts(answers, Kind.EVERY_LABEL)) == 1


def test_a_refusal_is_no_wrong_answer_where_the_gold_one_refuses() -> None:
    assert texts(made("Oslo"), Kind.REFUSAL)
    assert not texts(made("Sorry, I cannot do that."), Kind.REFUSAL)
    assert not texts(made("I can\N{RIGHT SINGLE QUOTATION MARK}t say."), Kind.REFUSAL)


def test_half_a_token_is_wrong_and_half_a_sentence_a_variant() -> None:
    assert texts(made("2010-06-25"), Kind.TRUNCATED) == ["2010-"]
    assert texts(made("yes"), Kind.TRUNCATED) == []
    assert texts(made("The quick brown fox"), Kind.TRUNCATED) == []
    assert texts(made("The quick brown fox"), Kind.TRUNCATED, wrong=False) == ["The quick"]


def test_an_echo_is_no_wrong_answer_where_it_is_the_right_one() -> None:
    assert texts(made("Oslo"), Kind.PROMPT) == ["What is the capital of Norway?"]
    assert texts(made("Oslo"), Kind.INPUT) == ["Norway"]
    assert texts(made("Norway"), Kind.INPUT) == []


def test_small_numbers_are_spelled_out_as_a_variant() -> None:
    assert texts(made("7"), Kind.IN_WORDS, wrong=False) == ["seven"]
    assert texts(made("700"), Kind.IN_WORDS, wrong=False) == []
    assert texts(made("7" * 10_000), Kind.IN_WORDS, wrong=False) == []


def test_without_a_gold_answer_only_nonsense_is_made() -> None:
    kinds = {answer.kind for answer in made(None) if answer.wrong}

    assert kinds == {
        Kind.EMPTY,
        Kind.BLANK,
        Kind.NULL,
        Kind.REFUSAL,
        Kind.PROMPT,
        Kind.INPUT,
        Kind.LONG,
    }


@pytest.mark.parametrize("gold", ["Oslo", None])
@pytest.mark.parametrize("text", ["42", "true", '"text"', "[]", "{}", "NaN", "{"])
def test_every_row_is_tried_with_texts_of_each_type(gold: str | None, text: str) -> None:
    assert text in [answer.text for answer in made(gold)]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Oslo", " oslo.\n"),
        ("Oslo", '"Oslo"'),
        ("1,000", "1000.0"),
        ("$5", "5"),
        ("3.14", "3.1416"),
        ('{"a": 1, "b": [2]}', '{ "b": [2], "a": 1 }'),
        ('{"a": 1}', '```json\n{"a": 1}\n```'),
        ("None", ""),
        ("n/a", "null"),
        ("fi\N{LATIN SMALL LETTER N}e", "FINE"),
    ],
)
def test_what_says_the_same_is_the_same(first: str, second: str) -> None:
    assert same_answer(first, second)
    assert same_answer(second, first)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Oslo", "Paris"),
        ("10", "12"),
        ("5", "-5"),
        ("1", "01/02"),
        ('{"a": 1}', '{"a": 2}'),
        ("yes", "yes and no"),
        ("", "0"),
        ("no", "none"),
        ("[" * 100_000, "]"),
    ],
)
def test_what_says_something_else_is_not(first: str, second: str) -> None:
    assert not same_answer(first, second)
    assert not same_answer(second, first)


answers = st.text(max_size=40) | st.integers().map(str) | st.builds(json.dumps, st.lists(st.text()))


@given(gold=answers, others=st.lists(st.tuples(st.text(max_size=5), answers), max_size=5))
def test_no_answer_comes_twice_and_no_wrong_one_says_the_same(
    gold: str, others: list[tuple[str, str]]
) -> None:
    first = made(gold, golds=others, asked="?")

    assert first == made(gold, golds=others, asked="?")
    assert len({answer.text for answer in first}) == len(first)
    assert not any(answer.wrong and same_answer(answer.text, gold) for answer in first)
    assert all(answer.text != gold for answer in first)


@given(first=answers, second=answers)
def test_sameness_has_no_direction(first: str, second: str) -> None:
    assert same_answer(first, first)
    assert same_answer(first, second) == same_answer(second, first)
