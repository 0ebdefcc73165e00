"""From conversations to training rows: token ids, and which of them carry loss (pure).

A row is the tokens of a perfect model's rollout: what it read, what it said, and in between what
others said. Only what it said carries loss, the end of each of its turns included.
"""

import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from statistics import median

from freesolo.datasets.types import Message
from freesolo.domain.memory import RowLengths
from freesolo.errors import InvalidEnvironment
from freesolo.runtime.client import EnvironmentHost
from training_backend.chat import ChatFormat, Ids

IGNORED = -100


@dataclass(frozen=True)
class Conversation:
    """A prompt and the answer to imitate, both as messages."""

    prompt: Sequence[Message]
    completion: Sequence[Message]


@dataclass(frozen=True)
class GoldRow:
    """What a model reads first, and what follows; `trained` tells which tokens of `after` it says."""

    prompt: Ids
    after: Ids
    trained: tuple[bool, ...]

    @property
    def ids(self) -> Ids:
        """All tokens, in their order."""
        return self.prompt + self.after

    @property
    def trained_tokens(self) -> int:
        """How many tokens carry loss."""
        return sum(self.trained)

    @property
    def labels(self) -> tuple[int, ...]:
        """The ids, those without loss masked."""
        pairs = zip(self.after, self.trained, strict=True)
        said = (token if trained else IGNORED for token, trained in pairs)
        return ((IGNORED,) * len(self.prompt)) + tuple(said)


class LeftOut(StrEnum):
    """Why a row is not trained on, in words for the log."""

    PROMPT = "a prompt that fills the context"
    ANSWER = "no room for the whole answer"


@dataclass(frozen=True)
class Rows:
    """The rows that fit, in the order of their conversations, and how many did not, by reason.

    `unthinking` counts answers without thinking, where the model is trained to think.
    """

    rows: tuple[GoldRow, ...]
    left_out: Counter[LeftOut]
    unthinking: int = 0


def read_conversations(host: EnvironmentHost, max_examples: int) -> Iterator[Conversation]:
    """Ask an environment for its prompts and gold answers: the first `max_examples`, 0 for all."""
    for example in islice(host.examples(), max_examples or None):
        yield Conversation(host.start_episode(example), host.sft_completion(example))


def build_rows(conversations: Iterable[Conversation], chat: ChatFormat, *, max_tokens: int) -> Rows:
    """Tokenise conversations, leaving out rows of more than `max_tokens`.

    Raise `InvalidEnvironment` if none is left, or for one that the model cannot read or say.
    """
    kept, left_out = [], Counter[LeftOut]()
    shortest, unthinking = 0, 0
    for number, conversation in enumerate(conversations, start=1):
        for row in _numbered_rows(conversation, chat, number):
            shortest = min(shortest or len(row.ids), len(row.ids))
            if len(row.ids) <= max_tokens:
                kept.append(row)
            else:
                full = len(row.prompt) >= max_tokens
                left_out[LeftOut.PROMPT if full else LeftOut.ANSWER] += 1
        answers = filter(_is_answer, conversation.completion)
        unthinking += chat.thinking and sum(not chat.thinks(answer) for answer in answers)
    if not kept:
        raise InvalidEnvironment(
            f"None of the {left_out.total()} rows fits into {max_tokens} tokens; the shortest has "
            f"{shortest}.",
            hint="Raise `train.max_context_tokens`, or shorten the prompts.",
        )
    return Rows(tuple(kept), left_out, unthinking)


def lengths_of(rows: Sequence[GoldRow]) -> RowLengths:
    """Measure rows: one in the middle, and the longest, whose answer is the longest of all."""
    answers = [len(row.after) for row in rows]
    return RowLengths(
        prompt=round(median(len(row.prompt) for row in rows)),
        answer=round(median(answers)),
        longest_prompt=max(len(row.ids) for row in rows) - max(answers),
        longest_answer=max(answers),
    )


def rows_of(conversation: Conversation, chat: ChatFormat) -> list[GoldRow]:
    """Return a conversation as the rows that rollouts keep of it.

    That is one row; or one for each turn, where the template rewrites what was said before. What
    others say after the last turn teaches nothing, and is not in them. Raise `InvalidEnvironment`
    for a conversation that no model can have led.
    """
    check(conversation, chat)
    before = list(conversation.prompt)
    rows: list[GoldRow] = []
    heard: list[Message] = []
    for message in conversation.completion:
        if _is_answer(message):
            said = chat.said([*before, *heard], message)
            if rows and chat.appends:
                rows[-1] = _longer(rows[-1], chat.between(rows[-1].after, heard), said)
            else:
                rows.append(GoldRow(chat.prompt([*before, *heard]), said, (True,) * len(said)))
            before += [*heard, chat.without_thinking(message)]
            heard = []
        else:
            heard.append(message)
    return rows


def check(conversation: Conversation, chat: ChatFormat) -> None:
    """Raise `InvalidEnvironment` unless all is text, and the gold answer is one that a model can give."""
    for message in (*conversation.prompt, *conversation.completion):
        _check_text(message)
    first = conversation.completion[0] if conversation.completion else {}
    if not _is_answer(first):
        begins = f"begins with a {first['role']} message" if first else "has no message"
        raise InvalidEnvironment(
            f"The gold answer {begins}, but it is the model who speaks after the prompt.",
            hint="Begin it with an assistant message; what comes before belongs into the prompt.",
        )
    for message in filter(_is_answer, conversation.completion):
        answer = chat.without_thinking(message).get("content") or ""
        if not answer.strip() and not message.get("tool_calls"):
            raise InvalidEnvironment(
                "A message of the gold answer says nothing.",
                hint="Give the example an `output`, or leave it out of the dataset.",
            )


def row_order(rows: int, *, take: int, seed: int) -> Iterator[int]:
    """Yield exactly `take` row numbers: epoch after epoch, each in an order of its own.

    The order depends on nothing but the arguments, so a resumed run goes on where it stopped.
    """
    left = take
    epoch = 0
    while left > 0:
        order = list(range(rows))
        random.Random(f"{seed}/{epoch}").shuffle(order)  # noqa: S311 - reproducible, not secret
        yield from order[:left]
        left -= rows
        epoch += 1


def _numbered_rows(conversation: Conversation, chat: ChatFormat, number: int) -> list[GoldRow]:
    try:
        return rows_of(conversation, chat)
    except InvalidEnvironment as error:
        raise InvalidEnvironment(f"Example {number}: {error.message}", hint=error.hint) from error


def _is_answer(message: Message) -> bool:
    return bool(message.get("role") == "assistant")


def _longer(row: GoldRow, heard: Ids, said: Ids) -> GoldRow:
    return GoldRow(
        row.prompt,
        row.after + heard + said,
        row.trained + (False,) * len(heard) + (True,) * len(said),
    )


def _check_text(message: Message) -> None:
    """Chat templates do not tell: some stop at a list of parts, others write it out as Python would."""
    content = message.get("content")
    if content is None and message.get("tool_calls"):
        return
    if not isinstance(content, str):
        raise InvalidEnvironment(
            f"The `content` of a {message.get('role')} message is {type(content).__name__}, but "
            "this model reads text only.",
            hint="Make `content` a string in `build_prompt_messages` and in the gold answers.",
        )
