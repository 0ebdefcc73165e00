import pytest

from freesolo.datasets import target_messages
from tests.contract.environment.clauses import clause


@clause("C8.2")
@pytest.mark.parametrize(
    ("output", "content"),
    [
        (None, ""),
        ("  yes ", "yes"),
        (True, "true"),
        ([], "[]"),
        ({"messages": [], "more": 1}, '{\n  "messages": [],\n  "more": 1\n}'),
        (["a"], '[\n  "a"\n]'),
    ],
)
def test_a_plain_answer_becomes_one_assistant_message(output: object, content: str) -> None:
    assert target_messages(output) == [{"role": "assistant", "content": content}]


@clause("C8.1", "C8.3")
@pytest.mark.parametrize(
    "wrap", [lambda messages: messages, lambda messages: {"messages": messages}]
)
def test_messages_are_kept_with_all_their_keys(wrap: object) -> None:
    assert callable(wrap)
    messages = [
        {"role": " assistant ", "content": None, "tool_calls": [{"id": "1"}]},
        {"role": "tool", "content": "ok", "tool_call_id": "1"},
    ]

    first, second = target_messages(wrap(messages))

    assert first == {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}
    assert second == messages[1]


@clause("C8.3")
@pytest.mark.parametrize(
    "messages",
    [
        [],
        "text",
        ["text"],
        [{"role": "user", "content": "a"}, {"role": " ", "content": "b"}],
        [{"role": "assistant", "content": None}],
        [{"role": "assistant"}],
    ],
)
def test_messages_that_are_not_well_formed_are_refused(messages: object) -> None:
    with pytest.raises(ValueError, match="messages"):
        target_messages({"messages": messages})


@clause("C8.3")
def test_the_message_at_fault_is_named_by_its_index() -> None:
    messages = [{"role": "assistant", "content": "a"}, {"role": "assistant", "content": 3}]

    with pytest.raises(ValueError, match=r"messages\[1\]\.content"):
        target_messages(messages)


@clause("C8.1", "C8.2")
def test_a_list_with_one_thing_that_is_no_message_is_a_value() -> None:
    (message,) = target_messages([{"role": "assistant", "content": "a"}, {"role": 3}])

    assert message["content"].startswith("[")
