from collections import Counter
from collections.abc import Sequence
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freesolo.datasets.types import Message
from freesolo.errors import InvalidEnvironment, InvalidInput
from training_backend.data import (
    IGNORED,
    Conversation,
    build_rows,
    micro_batch_size,
    row_order,
    tokenize,
)


class ByteTokenizer:
    """ChatML, one token a byte."""

    def apply_chat_template(
        self,
        conversation: Sequence[Message],
        *,
        add_generation_prompt: bool,
        tokenize: bool,
        enable_thinking: bool,
    ) -> str:
        text = "".join(f"<{turn['role']}>{turn['content']}</>\n" for turn in conversation)
        return text + ("<assistant>" if add_generation_prompt else "")

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        return list(text.encode())


class ForgetfulTokenizer(ByteTokenizer):
    """Drops every turn but the last, as templates that strip earlier thinking do."""

    def apply_chat_template(self, conversation: Sequence[Message], **options: bool) -> str:
        return super().apply_chat_template(conversation[-1:], **options)


class StrictTokenizer(ByteTokenizer):
    """Stops at what it does not like, with an error of its own, as templates do."""

    def apply_chat_template(self, conversation: Sequence[Message], **options: bool) -> str:
        raise LookupError("Conversation roles must alternate")


def conversation(question: str, answer: str) -> Conversation:
    return Conversation(
        prompt=[{"role": "user", "content": question}],
        completion=[{"role": "assistant", "content": answer}],
    )


@given(question=st.text(max_size=50), answer=st.text(min_size=1, max_size=50))
def test_every_token_of_the_completion_carries_loss_and_none_of_the_prompt(
    question: str, answer: str
) -> None:
    row = tokenize(conversation(question, answer), ByteTokenizer(), thinking=False)

    trained = [token for token in row.labels if token != IGNORED]
    assert bytes(trained).decode() == f"{answer}</>\n"
    assert bytes(row.input_ids[: row.prompt_tokens]).decode() == f"<user>{question}</>\n<assistant>"
    assert len(row.labels) == len(row.input_ids)


def test_a_template_that_rewrites_the_prompt_is_refused() -> None:
    with pytest.raises(InvalidInput, match="rewrites the prompt"):
        tokenize(conversation("1+1?", "2"), ForgetfulTokenizer(), thinking=False)


def test_rows_that_do_not_fit_are_dropped_and_counted() -> None:
    made = [conversation("short", "a"), conversation("long" * 100, "b"), conversation("short", "c")]

    rows = build_rows(made, ByteTokenizer(), max_tokens=60, thinking=False)

    assert rows.dropped == 1
    assert [bytes(row.input_ids[row.prompt_tokens :]) for row in rows.rows] == [
        b"a</>\n",
        b"c</>\n",
    ]


def test_no_row_that_fits_is_an_error_naming_the_shortest() -> None:
    with pytest.raises(InvalidEnvironment, match="the shortest has 30"):
        build_rows([conversation("1+1?", "2")], ByteTokenizer(), max_tokens=5, thinking=False)


def test_a_message_that_is_not_text_is_an_error_naming_its_example() -> None:
    parts = conversation("What is this?", "A cat.")
    parts.prompt[0]["content"] = [{"type": "text", "text": "What is this?"}]

    with pytest.raises(InvalidEnvironment, match=r"Example 2 has a user message .* list"):
        build_rows(
            [conversation("1+1?", "2"), parts], ByteTokenizer(), max_tokens=60, thinking=False
        )


def test_an_example_that_the_template_refuses_is_named_with_the_templates_words() -> None:
    with pytest.raises(InvalidEnvironment, match="example 1: Conversation roles must alternate"):
        build_rows([conversation("1+1?", "2")], StrictTokenizer(), max_tokens=60, thinking=False)


sizes = st.integers(min_value=1, max_value=40)


@given(rows=sizes, take=st.integers(min_value=0, max_value=200), seed=st.integers(0, 9))
def test_the_order_takes_exactly_as_many_rows_as_asked_and_all_of_them_equally_often(
    rows: int, take: int, seed: int
) -> None:
    order = list(row_order(rows, take=take, seed=seed))

    counts = Counter(order)
    assert len(order) == take
    assert max(counts.values(), default=0) - min(counts[row] for row in range(rows)) <= 1


@given(rows=sizes, seed=st.integers(0, 9), stopped_at=st.integers(0, 100))
def test_a_longer_run_begins_with_the_same_rows(rows: int, seed: int, stopped_at: int) -> None:
    short = list(row_order(rows, take=stopped_at, seed=seed))
    long = row_order(rows, take=200, seed=seed)

    assert list(islice(long, stopped_at)) == short


def test_each_epoch_has_an_order_of_its_own() -> None:
    order = list(row_order(50, take=100, seed=42))

    assert order[:50] != order[50:]
    assert sorted(order[:50]) == sorted(order[50:]) == list(range(50))


@given(
    batch_size=st.integers(1, 1024),
    longest_row=st.integers(1, 8192),
    max_tokens=st.integers(1, 20_000),
)
def test_a_micro_batch_divides_the_batch_and_stays_within_the_tokens(
    batch_size: int, longest_row: int, max_tokens: int
) -> None:
    size = micro_batch_size(batch_size, longest_row, max_tokens=max_tokens)

    assert batch_size % size == 0
    assert size == 1 or size * longest_row <= max_tokens
