import copy
import pickle

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from freesolo.environments.answers import Answer, split_thinking


@pytest.mark.parametrize(
    ("raw", "completion", "thinking"),
    [
        ("<think>6*7 is 42.</think>42", "42", "6*7 is 42."),
        ("\n<think>\n6*7 is 42.\n</think>\n\n42\n", "42", "6*7 is 42."),
        ("<think></think>42", "42", ""),
        ("6*7 is 42.\n</think>\n\n42", "42", "6*7 is 42."),
        ("<think>6*7 is", "", "6*7 is"),
        ("<think>a <think> inside</think>42", "42", "a <think> inside"),
        ("<think>a</think>b</think>c", "b</think>c", "a"),
        ("42", "42", ""),
        ("  42\n", "  42\n", ""),
        ("The tag <think> opens it.", "The tag <think> opens it.", ""),
        ("", "", ""),
    ],
)
def test_thinking_is_separated_from_the_answer(raw: str, completion: str, thinking: str) -> None:
    answer = split_thinking(raw)

    assert (answer, answer.completion, answer.thinking) == (completion, completion, thinking)
    assert answer.raw == raw


@pytest.mark.parametrize("raw", ["6*7 is", "<think>6*7 is"])
def test_thinking_that_the_prompt_opened_and_nothing_closed_has_no_answer(raw: str) -> None:
    answer = split_thinking(raw, opened=True)

    assert (answer.completion, answer.thinking) == ("", "6*7 is")


def test_an_answer_is_text_and_its_completion_plain_text() -> None:
    answer = split_thinking("<think>so</think>42")

    assert isinstance(answer, str)
    assert {answer: 1} == {"42": 1}
    assert type(answer.completion) is str
    assert type(answer.strip()) is str


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_an_answer_survives_pickling(protocol: int) -> None:
    answer = split_thinking("<think>so</think>42")

    again = pickle.loads(pickle.dumps(answer, protocol))  # noqa: S301 - our own bytes

    assert type(again) is Answer
    assert (again, again.thinking, again.raw) == (answer, answer.thinking, answer.raw)


def test_an_answer_survives_copying() -> None:
    answer = split_thinking("<think>so</think>42")

    again = copy.deepcopy(answer)

    assert (again, again.thinking, again.raw) == (answer, answer.thinking, answer.raw)


TEXT = st.text(alphabet=st.sampled_from("ab <>/think\n"), max_size=40)


@given(thinking=TEXT, answer=TEXT)
def test_what_is_wrapped_comes_apart_again(thinking: str, answer: str) -> None:
    assume(f"{thinking}</think>".index("</think>") == len(thinking))
    raw = f"<think>{thinking}</think>{answer}"

    for written, opened in ((raw, False), (raw, True), (raw.removeprefix("<think>"), True)):
        split = split_thinking(written, opened=opened)
        assert split.raw == written
        assert split.completion == answer.strip()


@given(TEXT)
def test_nothing_is_lost_whatever_was_written(raw: str) -> None:
    split = split_thinking(raw)

    assert split.raw == raw
    assert len(split) + len(split.thinking) <= len(raw)
