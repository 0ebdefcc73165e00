"""Between messages and tokens: what a model reads, what it says, and what stands in between.

A rollout is kept as token ids. What the model said is never encoded anew, because text does not
always come back as the ids that were sampled; only what others say is rendered and encoded.
"""

from collections.abc import Collection, Sequence
from functools import cached_property
from typing import Protocol

from freesolo.datasets.types import Message
from freesolo.environments.answers import split_thinking
from freesolo.errors import InvalidEnvironment

Ids = tuple[int, ...]

# Stands for what the model says where only what surrounds it matters.
_MARK = "\u2063said\u2063"
_ASKED: Message = {"role": "user", "content": "?"}
_SAID: Message = {"role": "assistant", "content": _MARK}


class ChatTokenizer(Protocol):
    """What is needed of a tokenizer: its chat template, and plain encoding and decoding."""

    def apply_chat_template(
        self,
        conversation: Sequence[Message],
        *,
        add_generation_prompt: bool,
        tokenize: bool,
        enable_thinking: bool,
    ) -> str:
        """Render a conversation as the text that the model reads."""

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        """Return the token ids of `text`."""

    def decode(self, token_ids: Sequence[int], *, skip_special_tokens: bool) -> str:
        """Return the text of token ids."""


class ChatFormat:
    """A model's chat template, in the direction of training: ids grow at their end only.

    `stop_ids` end a turn of the model's.
    """

    def __init__(
        self, tokenizer: ChatTokenizer, *, stop_ids: Collection[int], thinking: bool
    ) -> None:
        self.tokenizer = tokenizer
        self._thinking = thinking
        self.stop_ids = frozenset(stop_ids)

    def prompt(self, messages: Sequence[Message]) -> Ids:
        """Return what the model reads before it answers `messages`."""
        return self.encode(self.render(messages, answer_next=True))

    def between(self, said: Sequence[int], messages: Sequence[Message]) -> Ids:
        """Return what stands between a turn of the model's and its next: `messages`, framed.

        The end of the turn is part of it, unless the model said that itself.
        """
        rendered = self.render([_ASKED, _SAID, *messages], answer_next=True)
        after = rendered.rpartition(_MARK)[2]
        if said and said[-1] in self.stop_ids:
            after = after.removeprefix(self.decode([said[-1]], special=True))
        return self.encode(after)

    @cached_property
    def appends(self) -> bool:
        """Whether a turn leaves everything before it as it was read and said.

        Templates of thinking models take the thinking out of earlier turns, or write empty
        thinking into the newest one only: what the model reads next is then another text.
        """
        if self._thinking:
            return False
        before = self.render([_ASKED], answer_next=True)
        after = self.render([_ASKED, _SAID, _ASKED], answer_next=True)
        return after.startswith(before + _MARK)

    @cached_property
    def opens_thinking(self) -> bool:
        """Whether the prompt itself opens the model's thinking."""
        return self._thinking and self.render([_ASKED], answer_next=True).rstrip().endswith(
            "<think>"
        )

    def text(self, said: Sequence[int], *, stop_sequences: Sequence[str] = ()) -> str:
        """Return what the model said as text, up to the first of `stop_sequences`.

        If the model thinks it is an `Answer`: text without the thinking, which it has apart.
        """
        raw = self.decode(said, special=False)
        ends = [place for stop in stop_sequences if (place := raw.find(stop)) >= 0]
        raw = raw[: min(ends)] if ends else raw
        return split_thinking(raw, opened=self.opens_thinking) if self._thinking else raw

    def thinking_tokens(self, said: Sequence[int]) -> int:
        """Return how many of these tokens are thinking: those before the first `</think>`."""
        if not self._thinking:
            return 0
        ending = self.encode("</think>")
        opened = self.opens_thinking or self.decode(said, special=True).lstrip().startswith(
            "<think>"
        )
        for place in range(len(said) - len(ending) + 1):
            if tuple(said[place : place + len(ending)]) == ending:
                return place
        return len(said) if opened else 0

    def render(self, messages: Sequence[Message], *, answer_next: bool) -> str:
        """Return messages as text, up to where the model answers if `answer_next`.

        Raise `InvalidEnvironment` for what the template refuses.
        """
        try:
            return self.tokenizer.apply_chat_template(
                messages,
                add_generation_prompt=answer_next,
                tokenize=False,
                enable_thinking=self._thinking,
            )
        except Exception as error:
            # A template is a program of the model's; its refusals are of no class of ours.
            raise InvalidEnvironment(
                f"The model's chat template refuses the messages: {error}.",
                hint="Mend the roles or the order of the messages, or use another base model.",
            ) from error

    def encode(self, text: str) -> Ids:
        """Return the ids of a text in which the template's own marks count as such."""
        return tuple(self.tokenizer.encode(text, add_special_tokens=False))

    def decode(self, ids: Sequence[int], *, special: bool) -> str:
        """Return the text of ids, with or without the template's own marks."""
        return self.tokenizer.decode(ids, skip_special_tokens=not special)
