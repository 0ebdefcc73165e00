from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freesolo.datasets.types import Message
from freesolo.environments.answers import Answer
from freesolo.errors import InvalidEnvironment
from training_backend.chat import ChatFormat

END = 3
_SPECIAL = {"\x02": 2, "\x03": END}


class Letters:
    """A template with marks of one token each; every other token is a character's number."""

    def apply_chat_template(
        self,
        conversation: Sequence[Message],
        *,
        add_generation_prompt: bool,
        tokenize: bool,
        enable_thinking: bool,
    ) -> str:
        text = "".join(f"\x02{turn['role']}:{turn['content']}\x03\n" for turn in conversation)
        return text + ("\x02assistant:" if add_generation_prompt else "")

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        return [ord(letter) for letter in text]

    def decode(self, token_ids: Sequence[int], *, skip_special_tokens: bool) -> str:
        shown = [i for i in token_ids if not (skip_special_tokens and i in _SPECIAL.values())]
        return "".join(map(chr, shown))


class Forgetful(Letters):
    """Writes empty thinking before the newest answer only, as templates of thinking models do."""

    def apply_chat_template(self, conversation: Sequence[Message], **options: bool) -> str:
        text = super().apply_chat_template(conversation, **options)
        return text + ("<think></think>" if options["add_generation_prompt"] else "")


class Opening(Letters):
    """Opens the thinking in the prompt."""

    def apply_chat_template(self, conversation: Sequence[Message], **options: bool) -> str:
        text = super().apply_chat_template(conversation, **options)
        return text + ("<think>\n" if options["add_generation_prompt"] else "")


class Refusing(Letters):
    def apply_chat_template(self, conversation: Sequence[Message], **options: bool) -> str:
        raise LookupError("roles must alternate")


def chat(tokenizer: Letters | None = None, *, thinking: bool = False) -> ChatFormat:
    return ChatFormat(tokenizer or Letters(), stop_ids=[END], thinking=thinking)


def ids(text: str) -> tuple[int, ...]:
    return tuple(map(ord, text))


def test_what_stands_between_two_turns_is_framed_and_ends_the_first_once() -> None:
    reply = [{"role": "user", "content": "more"}]
    rest = "\n\x02user:more\x03\n\x02assistant:"
    assert chat().between(ids("yes\x03"), reply) == ids(rest)
    # A turn that a stop sequence ended has no end of its own.
    assert chat().between(ids("yes"), reply) == ids("\x03" + rest)


@given(st.text(alphabet="ab\n:", max_size=8), st.text(alphabet="ab\n:", max_size=8))
def test_turns_put_behind_each_other_read_as_the_template_writes_them(said: str, more: str) -> None:
    asked = {"role": "user", "content": "a?"}
    answered = {"role": "assistant", "content": said}
    reply = {"role": "user", "content": more}
    form = chat()

    grown = form.prompt([asked]) + ids(said) + (END,)
    grown += form.between(grown, [reply])

    assert form.appends
    assert grown == form.prompt([asked, answered, reply])


@pytest.mark.parametrize(
    ("tokenizer", "thinking"), [(Forgetful(), False), (Letters(), True), (Opening(), True)]
)
def test_a_template_that_writes_earlier_turns_anew_is_known(
    tokenizer: Letters, *, thinking: bool
) -> None:
    assert not chat(tokenizer, thinking=thinking).appends


def test_text_ends_before_a_stop_sequence_and_has_no_marks() -> None:
    assert chat().text(ids("one END two\x03"), stop_sequences=["END", "two"]) == "one "
    assert chat().text(ids("one\x03")) == "one"


def test_thinking_is_apart_from_the_answer_and_counted() -> None:
    answer = chat(Opening(), thinking=True).text(ids("hm</think>42\x03"))
    assert isinstance(answer, Answer)
    assert (answer, answer.thinking) == ("42", "hm")
    assert chat(Opening(), thinking=True).thinking_tokens(ids("hm</think>42\x03")) == 2
    # Cut off in the middle, all of it was thinking.
    assert chat(Opening(), thinking=True).thinking_tokens(ids("hm")) == 2
    assert chat(thinking=True).thinking_tokens(ids("42\x03")) == 0
    assert chat().thinking_tokens(ids("hm</think>42")) == 0


def test_what_the_template_refuses_is_the_environments_to_mend() -> None:
    with pytest.raises(InvalidEnvironment, match="roles must alternate"):
        chat(Refusing()).prompt([])
