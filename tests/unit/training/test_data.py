import json
from collections import Counter
from collections.abc import Sequence
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freesolo.datasets.types import Message
from freesolo.errors import InvalidEnvironment
from training_backend.chat import ChatFormat
from training_backend.data import (
    IGNORED,
    Conversation,
    GoldRow,
    LeftOut,
    build_rows,
    row_order,
    rows_of,
)

END = "\x03"


class ByteTokenizer:
    """ChatML, one token a byte; the byte 3 ends a turn."""

    def apply_chat_template(
        self,
        conversation: Sequence[Message],
        *,
        add_generation_prompt: bool,
        tokenize: bool,
        enable_thinking: bool,
    ) -> str:
        text = "".join(map(self.turn, conversation))
        return text + ("<assistant>" if add_generation_prompt else "")

    def turn(self, message: Message) -> str:
        return f"<{message['role']}>{message['content']}{END}\n"

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        return list(text.encode())

    def decode(self, token_ids: Sequence[int], *, skip_special_tokens: bool) -> str:
        text = bytes(token_ids).decode(errors="replace")
        return text.replace(END, "") if skip_special_tokens else text


class ForgetfulTokenizer(ByteTokenizer):
    """Drops every turn but the last."""

    def apply_chat_template(self, conversation: Sequence[Message], **options: bool) -> str:
        return super().apply_chat_template(conversation[-1:], **options)


class StrictTokenizer(ByteTokenizer):
    """Stops at what it does not like, with an error of its own, as templates do."""

    def apply_chat_template(self, conversation: Sequence[Message], **options: bool) -> str:
        raise LookupError("Conversation roles must alternate")


class EndlessTokenizer(ByteTokenizer):
    """Ends no turn."""

    def turn(self, message: Message) -> str:
        return f"<{message['role']}>{message['content']}\n"


class ToolTokenizer(ByteTokenizer):
    """Writes calls as JSON, and names."""

    def turn(self, message: Message) -> str:
        calls = "".join(
            f"[{json.dumps(call['function'])}]" for call in message.get("tool_calls", ())
        )
        name = f" {message['name']}" if "name" in message else ""
        return f"<{message['role']}{name}>{message['content']}{calls}{END}\n"


class ThinkingTokenizer(ByteTokenizer):
    """Writes thinking into the newest answer only, empty if there is none, as Qwen's do."""

    def apply_chat_template(
        self,
        conversation: Sequence[Message],
        *,
        add_generation_prompt: bool,
        tokenize: bool,
        enable_thinking: bool,
    ) -> str:
        last = None if add_generation_prompt else conversation[-1]
        text = "".join(self.thinking_turn(turn, newest=turn is last) for turn in conversation)
        if not add_generation_prompt:
            return text
        return text + "<assistant>" + ("" if enable_thinking else "<think></think>")

    def thinking_turn(self, message: Message, *, newest: bool) -> str:
        content = message["content"]
        thought = message.get("reasoning_content", "")
        if message["role"] == "assistant" and "</think>" in content:
            thought, _, content = content.removeprefix("<think>").partition("</think>")
        thinking = f"<think>{thought}</think>" if newest else ""
        return self.turn({**message, "content": thinking + content})


class DoublingTokenizer(ThinkingTokenizer):
    """Knows no thinking in an answer's text, and writes an empty one before it."""

    def thinking_turn(self, message: Message, *, newest: bool) -> str:
        thinking = "<think></think>" if newest else ""
        return self.turn({**message, "content": thinking + message["content"]})


class StrippingTokenizer(ThinkingTokenizer):
    """Takes the thinking out of every answer."""

    def thinking_turn(self, message: Message, *, newest: bool) -> str:
        return super().thinking_turn(message, newest=False)


def chat(tokenizer: ByteTokenizer | None = None, *, thinking: bool = False) -> ChatFormat:
    return ChatFormat(tokenizer or ByteTokenizer(), stop_ids=[ord(END)], thinking=thinking)


def message(role: str, content: str | None, **others: object) -> Message:
    return {"role": role, "content": content, **others}


def conversation(question: str, *completion: str | Message) -> Conversation:
    return Conversation(
        prompt=[message("user", question)],
        completion=[
            message("assistant", turn) if isinstance(turn, str) else turn for turn in completion
        ],
    )


def said(row: GoldRow) -> str:
    return bytes(label for label in row.labels if label != IGNORED).decode()


def text(row: GoldRow) -> str:
    return bytes(row.ids).decode()


words = st.text(st.characters(exclude_characters=END, exclude_categories=["Cs"]), max_size=30)
spoken = words.filter(str.strip)
heard = st.builds(message, st.sampled_from(["user", "tool", "system"]), words)


@given(question=words, turns=st.lists(st.tuples(st.lists(heard, max_size=2), spoken), max_size=4))
def test_exactly_what_the_model_says_carries_loss_and_a_row_is_what_it_meets_when_served(
    question: str, turns: list[tuple[list[Message], str]]
) -> None:
    said_first = conversation(question, "yes")
    completion = list(said_first.completion)
    for others, answer in turns:
        completion += [*others, message("assistant", answer)]

    (row,) = rows_of(Conversation(said_first.prompt, completion), chat())

    assert said(row) == "".join(f"{turn}{END}" for turn in ["yes", *(turn for _, turn in turns)])
    whole = ByteTokenizer().apply_chat_template(
        [*said_first.prompt, *completion],
        add_generation_prompt=False,
        tokenize=False,
        enable_thinking=False,
    )
    # The newline after the last turn is the template's: the model has stopped by then.
    assert text(row) == whole.removesuffix("\n")
    assert len(row.labels) == len(row.ids) == len(row.prompt) + len(row.trained)


def test_what_others_say_after_the_last_turn_is_left_off() -> None:
    (row,) = rows_of(conversation("1+1?", "2", message("user", "thanks")), chat())

    assert text(row).endswith(f"<assistant>2{END}")


def test_a_template_that_rewrites_history_gives_a_row_for_each_turn() -> None:
    told = conversation("1+1?", "2", message("user", "and 1?"), "3")

    first, second = rows_of(told, chat(ThinkingTokenizer()))

    assert text(first) == f"<user>1+1?{END}\n<assistant><think></think>2{END}"
    assert text(second) == (
        f"<user>1+1?{END}\n<assistant>2{END}\n<user>and 1?{END}\n<assistant><think></think>3{END}"
    )
    assert [said(first), said(second)] == [f"2{END}", f"3{END}"]


def test_thinking_is_trained_where_it_is_newest_and_gone_where_it_is_history() -> None:
    told = conversation(
        "1+1?", "<think>two</think>2", message("user", "and 1?"), "<think>three</think>3"
    )

    first, second = rows_of(told, chat(ThinkingTokenizer(), thinking=True))

    assert said(first) == f"<think>two</think>2{END}"
    assert said(second) == f"<think>three</think>3{END}"
    assert "two" not in text(second)


def test_thinking_may_stand_apart_from_the_answer() -> None:
    told = conversation("1+1?", message("assistant", "2", reasoning_content="two"), "so 2")

    first, second = rows_of(told, chat(ThinkingTokenizer(), thinking=True))

    assert said(first) == f"<think>two</think>2{END}"
    assert "two" not in text(second)


@pytest.mark.parametrize("tokenizer", [DoublingTokenizer(), StrippingTokenizer()])
def test_thinking_that_the_template_doubles_or_strips_is_an_error_naming_its_example(
    tokenizer: ByteTokenizer,
) -> None:
    with pytest.raises(InvalidEnvironment, match=r"Example 1: .* thinking exactly once"):
        build_rows(
            [conversation("1+1?", "<think>two</think>2")],
            chat(tokenizer, thinking=True),
            max_tokens=100,
        )


def test_answers_without_thinking_are_counted_where_the_model_is_to_think() -> None:
    told = [conversation("1+1?", "2"), conversation("1+2?", "<think>three</think>3")]

    assert build_rows(told, chat(ThinkingTokenizer(), thinking=True), max_tokens=99).unthinking == 1
    assert build_rows(told[:1], chat(), max_tokens=99).unthinking == 0


def test_calls_are_said_as_the_template_writes_them_and_arguments_are_an_object() -> None:
    call = {"type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
    told = conversation(
        "1+1?", message("assistant", None, tool_calls=[call]), message("tool", "2", name="add"), "2"
    )

    (row,) = rows_of(told, chat(ToolTokenizer()))

    assert said(row) == f'[{{"name": "add", "arguments": {{"a": 1}}}}]{END}2{END}'
    assert f"<tool add>2{END}" in text(row)


@pytest.mark.parametrize(
    ("completion", "problem"),
    [
        ([message("user", "well?"), message("assistant", "2")], "begins with a user message"),
        ([message("system", "Add."), message("assistant", "2")], "begins with a system message"),
        ([], "has no message"),
        ([message("assistant", " ")], "says nothing"),
        ([message("assistant", "2"), message("assistant", "")], "says nothing"),
        ([message("assistant", None)], "`content` of a assistant message is NoneType"),
        ([message("assistant", f"2{END}3")], "at which the model's turn ends"),
        ([message("assistant", None, tool_calls=[{}])], "leaves `tool_calls` out"),
        (
            [message("assistant", "", tool_calls=[{"function": {"arguments": "{"}}])],
            "no JSON: '{'",
        ),
    ],
)
def test_an_answer_that_no_model_can_give_is_an_error_naming_its_example(
    completion: list[Message], problem: str
) -> None:
    bad = Conversation([message("user", "1+1?")], completion)

    with pytest.raises(InvalidEnvironment, match="Example 2: ") as error:
        build_rows([conversation("1+1?", "2"), bad], chat(), max_tokens=60)
    assert problem in error.value.message
    assert error.value.hint


def test_an_answer_that_only_thinks_says_nothing() -> None:
    with pytest.raises(InvalidEnvironment, match="says nothing"):
        rows_of(conversation("?", "<think>hm"), chat(ThinkingTokenizer(), thinking=True))


def test_a_template_that_rewrites_the_prompt_is_refused() -> None:
    with pytest.raises(InvalidEnvironment, match="rewrites what the model read"):
        rows_of(conversation("1+1?", "2"), chat(ForgetfulTokenizer()))


def test_a_template_that_ends_no_turn_is_refused() -> None:
    with pytest.raises(InvalidEnvironment, match="no token that the model stops at"):
        rows_of(conversation("1+1?", "2"), chat(EndlessTokenizer()))


def test_rows_that_do_not_fit_are_left_out_whole_and_counted_by_reason() -> None:
    made = [
        conversation("short", "a"),
        conversation("long" * 100, "b"),
        conversation("short", "long" * 100),
        conversation("short", "c"),
    ]

    rows = build_rows(made, chat(), max_tokens=60)

    assert rows.left_out == {LeftOut.PROMPT: 1, LeftOut.ANSWER: 1}
    assert [said(row) for row in rows.rows] == [f"a{END}", f"c{END}"]


def test_no_row_that_fits_is_an_error_naming_the_shortest() -> None:
    with pytest.raises(InvalidEnvironment, match="the shortest has 25"):
        build_rows([conversation("1+1?", "2")], chat(), max_tokens=5)


def test_a_message_that_is_not_text_is_an_error_naming_its_example() -> None:
    parts = conversation("What is this?", "A cat.")
    parts.prompt[0]["content"] = [{"type": "text", "text": "What is this?"}]

    with pytest.raises(InvalidEnvironment, match=r"Example 2: .* user message is list"):
        build_rows([conversation("1+1?", "2"), parts], chat(), max_tokens=60)


def test_an_example_that_the_template_refuses_is_named_with_the_templates_words() -> None:
    with pytest.raises(
        InvalidEnvironment, match=r"Example 1: .*: Conversation roles must alternate"
    ):
        build_rows([conversation("1+1?", "2")], chat(StrictTokenizer()), max_tokens=60)


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
