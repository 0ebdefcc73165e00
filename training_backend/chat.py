"""Between messages and tokens: what a model reads, what it says, and what stands in between.

A rollout is kept as token ids. What the model said is never encoded anew, because text does not
always come back as the ids that were sampled; only what others say is rendered and encoded.
"""

import json
from collections.abc import Collection, Sequence
from functools import cached_property
from typing import Protocol

from freesolo.datasets.types import Message
from freesolo.environments.answers import Answer, split_thinking
from freesolo.errors import InvalidEnvironment

Ids = tuple[int, ...]

# Stands for what the model says where only what surrounds it matters.
_MARK = "\u2063said\u2063"
_ASKED: Message = {"role": "user", "content": "?"}
_SAID: Message = {"role": "assistant", "content": _MARK}
_OPENING, _CLOSING = "<think>", "</think>"
# Where messages of thinking models hold their thinking apart from the answer.
_REASONING = "reasoning_content"


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

    `stop_ids` end a turn of the model's; `thinking` says whether it thinks aloud before it answers.
    """

    def __init__(
        self, tokenizer: ChatTokenizer, *, stop_ids: Collection[int], thinking: bool
    ) -> None:
        self.tokenizer = tokenizer
        self.thinking = thinking
        self.stop_ids = frozenset(stop_ids)

    def prompt(self, messages: Sequence[Message]) -> Ids:
        """Return what the model reads before it answers `messages`."""
        return self.encode(self.render(messages, answer_next=True))

    def said(self, before: Sequence[Message], answer: Message) -> Ids:
        """Return what the model says if it answers `before` with `answer`, to the end of its turn.

        What a template writes behind that, a newline as a rule, the model never says. Raise
        `InvalidEnvironment` for an answer that cannot be told in this format.
        """
        text = self._answer_text(before, answer)
        ids = self.encode(text)
        end = next((place for place, token in enumerate(ids) if token in self.stop_ids), None)
        if end is None:
            raise InvalidEnvironment(
                "The model's chat template ends an answer with no token that the model stops at.",
                hint="Add the token to `eos_token_id` in the model's `generation_config.json`, or "
                "use another base model.",
            )
        if self.decode(ids[end + 1 :], special=False).strip():
            mark = self.decode([ids[end]], special=True)
            raise InvalidEnvironment(
                f"The answer holds {mark!r}, at which the model's turn ends.",
                hint="Take it out of the gold answer; the template writes it where it belongs.",
            )
        return ids[: end + 1]

    def without_thinking(self, answer: Message) -> Message:
        """Return an answer of the model's as later turns show it: rollouts keep no thinking either."""
        if not self.thinking:
            return answer
        kept = {name: value for name, value in answer.items() if name != _REASONING}
        return {**kept, "content": str(self._split(answer))}

    def thinks(self, answer: Message) -> bool:
        """Say whether an answer begins with thinking."""
        return bool(self.thinking and self._split(answer).thinking)

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
        if self.thinking:
            return False
        before = self.render([_ASKED], answer_next=True)
        after = self.render([_ASKED, _SAID, _ASKED], answer_next=True)
        return after.startswith(before + _MARK)

    @cached_property
    def opens_thinking(self) -> bool:
        """Whether the prompt itself opens the model's thinking."""
        return self.thinking and self.render([_ASKED], answer_next=True).rstrip().endswith(_OPENING)

    def text(self, said: Sequence[int], *, stop_sequences: Sequence[str] = ()) -> str:
        """Return what the model said as text, up to the first of `stop_sequences`.

        If the model thinks it is an `Answer`: text without the thinking, which it has apart.
        """
        raw = self.decode(said, special=False)
        ends = [place for stop in stop_sequences if (place := raw.find(stop)) >= 0]
        raw = raw[: min(ends)] if ends else raw
        return split_thinking(raw, opened=self.opens_thinking) if self.thinking else raw

    def thinking_tokens(self, said: Sequence[int]) -> int:
        """Return how many of these tokens are thinking: those before the first `</think>`."""
        if not self.thinking:
            return 0
        ending = self.encode(_CLOSING)
        opened = self.opens_thinking or self.decode(said, special=True).lstrip().startswith(
            _OPENING
        )
        for place in range(len(said) - len(ending) + 1):
            if tuple(said[place : place + len(ending)]) == ending:
                return place
        return len(said) if opened else 0

    def render(self, messages: Sequence[Message], *, answer_next: bool) -> str:
        """Return messages as text, up to where the model answers if `answer_next`.

        Raise `InvalidEnvironment` for what the template refuses.
        """
        served = [_as_served(message) for message in messages]
        try:
            return self.tokenizer.apply_chat_template(
                served,
                add_generation_prompt=answer_next,
                tokenize=False,
                enable_thinking=self.thinking,
            )
        except Exception as error:
            # A template is a program of the model's; its refusals are of no class of ours.
            raise InvalidEnvironment(
                f"The model's chat template refuses the messages: {error}.",
                hint="Mend the roles or the order of the messages, or use another base model.",
            ) from error

    def _answer_text(self, before: Sequence[Message], answer: Message) -> str:
        """Return all that the template writes of an answer behind what the model read."""
        read = self.render(before, answer_next=True)
        whole = self.render([*before, answer], answer_next=False)
        if not whole.startswith(read) or whole == read:
            raise InvalidEnvironment(
                "The model's chat template rewrites what the model read once this answer follows it.",
                hint="If the answer holds thinking, set `thinking = true`; else use another base "
                "model.",
            )
        if answer.get("tool_calls"):
            silent = {name: value for name, value in answer.items() if name != "tool_calls"}
            if self.render([*before, silent], answer_next=False) == whole:
                raise InvalidEnvironment(
                    "The model's chat template leaves `tool_calls` out.",
                    hint="Write the calls as text in `content`, or use another base model.",
                )
        text = whole[len(read) :]
        if self.thinking:
            meant = self._split(answer)
            kept = split_thinking(text, opened=self.opens_thinking)
            if kept.thinking != meant.thinking or _OPENING in kept:
                raise InvalidEnvironment(
                    "The model's chat template does not write the answer's thinking exactly once.",
                    hint=f"Write it as `<think>...</think>` before the answer, or as `{_REASONING}` "
                    "of its message; else set `thinking = false` and leave it out.",
                )
        return text

    def _split(self, answer: Message) -> Answer:
        content = answer.get("content") or ""
        if answer.get(_REASONING):
            return Answer(content, thinking=str(answer[_REASONING]).strip())
        return split_thinking(content, opened=self.opens_thinking and _CLOSING in content)

    def encode(self, text: str) -> Ids:
        """Return the ids of a text in which the template's own marks count as such."""
        return tuple(self.tokenizer.encode(text, add_special_tokens=False))

    def decode(self, ids: Sequence[int], *, special: bool) -> str:
        """Return the text of ids, with or without the template's own marks."""
        return self.tokenizer.decode(ids, skip_special_tokens=not special)


def _as_served(message: Message) -> Message:
    """Return a message as an engine hands it to the template: no content is empty content, and the
    arguments of calls are an object, which OpenAI's API writes as JSON.
    """
    calls = message.get("tool_calls")
    if message.get("content") is not None and not calls:
        return message
    served = {**message, "content": message.get("content") or ""}
    if isinstance(calls, list):
        served["tool_calls"] = [_call_as_served(call) for call in calls]
    return served


def _call_as_served(call: object) -> object:
    match call:
        case {"function": {"arguments": str() as arguments, **function}, **rest}:
            try:
                parsed = json.loads(arguments or "{}")
            except ValueError:
                raise InvalidEnvironment(
                    f"The arguments of a tool call are no JSON: {arguments[:200]!r}.",
                    hint="Write them as a JSON object, or as text that holds one.",
                ) from None
            return {**rest, "function": {**function, "arguments": parsed}}
    return call
