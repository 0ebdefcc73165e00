"""From conversations to training rows: token ids, and which of them carry loss (pure)."""

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from statistics import median
from typing import Protocol

from freesolo.datasets.types import Message
from freesolo.domain.memory import RowLengths
from freesolo.errors import FreesoloError, InvalidEnvironment, InvalidInput
from freesolo.runtime.client import EnvironmentHost

IGNORED = -100


class ChatTokenizer(Protocol):
    """What is needed of a tokenizer: its chat template, and plain encoding."""

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


@dataclass(frozen=True)
class Conversation:
    """A prompt and the answer to imitate, both as messages."""

    prompt: Sequence[Message]
    completion: Sequence[Message]


@dataclass(frozen=True)
class Row:
    """One training row: prompt and completion as token ids, the prompt's first."""

    input_ids: tuple[int, ...]
    prompt_tokens: int

    @property
    def labels(self) -> tuple[int, ...]:
        """The ids with the prompt's masked: every token of the completion carries loss."""
        return (IGNORED,) * self.prompt_tokens + self.input_ids[self.prompt_tokens :]


@dataclass(frozen=True)
class Rows:
    """The rows that fit, in the order of their conversations, and how many did not."""

    rows: tuple[Row, ...]
    dropped: int


def read_conversations(host: EnvironmentHost, max_examples: int) -> Iterator[Conversation]:
    """Ask an environment for its prompts and gold answers: the first `max_examples`, 0 for all."""
    for example in islice(host.examples(), max_examples or None):
        yield Conversation(host.start_episode(example), host.sft_completion(example))


def build_rows(
    conversations: Iterable[Conversation],
    tokenizer: ChatTokenizer,
    *,
    max_tokens: int,
    thinking: bool,
) -> Rows:
    """Tokenise conversations, leaving out rows of more than `max_tokens`.

    Raise `InvalidEnvironment` if none is left, or for one that the model cannot read.
    """
    built = []
    for number, conversation in enumerate(conversations, start=1):
        check_text(conversation, number)
        try:
            built.append(tokenize(conversation, tokenizer, thinking=thinking))
        except FreesoloError:
            raise
        except Exception as error:
            # A template is a program of the model's; its refusals are of no class of ours.
            raise InvalidEnvironment(
                f"The model's chat template refuses example {number}: {error}.",
                hint="Mend the roles or the order of its messages, or use another base model.",
            ) from error
    kept = tuple(row for row in built if len(row.input_ids) <= max_tokens)
    if not kept:
        shortest = min((len(row.input_ids) for row in built), default=0)
        raise InvalidEnvironment(
            f"None of the {len(built)} examples fits into {max_tokens} tokens; the shortest has {shortest}.",
            hint="Raise `train.max_context_tokens`, or shorten the prompts.",
        )
    return Rows(rows=kept, dropped=len(built) - len(kept))


def lengths_of(rows: Sequence[Row]) -> RowLengths:
    """Measure rows: one in the middle, and the longest, whose answer is the longest of all."""
    answers = [len(row.input_ids) - row.prompt_tokens for row in rows]
    return RowLengths(
        prompt=round(median(row.prompt_tokens for row in rows)),
        answer=round(median(answers)),
        longest_prompt=max(len(row.input_ids) for row in rows) - max(answers),
        longest_answer=max(answers),
    )


def check_text(conversation: Conversation, number: int) -> None:
    """Raise `InvalidEnvironment` unless every message of example `number` is plain text.

    Chat templates do not tell: some stop at a list of parts, others write it out as Python would.
    """
    for message in (*conversation.prompt, *conversation.completion):
        content = message.get("content")
        if not isinstance(content, str):
            raise InvalidEnvironment(
                f"Example {number} has a {message.get('role')} message whose `content` is "
                f"{type(content).__name__}, but this model reads text only.",
                hint="Make `content` a string in `build_prompt_messages` and in the gold answers.",
            )


def tokenize(conversation: Conversation, tokenizer: ChatTokenizer, *, thinking: bool) -> Row:
    """Turn one conversation into a row.

    Prompt and completion are encoded apart, because that is what the model meets when it is served:
    the ids of the prompt, then tokens of its own. Raise `InvalidInput` if the chat template does
    not leave the prompt as it is when the completion follows.
    """
    prompt = tokenizer.apply_chat_template(
        conversation.prompt, add_generation_prompt=True, tokenize=False, enable_thinking=thinking
    )
    whole = tokenizer.apply_chat_template(
        [*conversation.prompt, *conversation.completion],
        add_generation_prompt=False,
        tokenize=False,
        enable_thinking=thinking,
    )
    if not whole.startswith(prompt) or whole == prompt:
        raise InvalidInput(
            "The model's chat template rewrites the prompt once an answer follows it, "
            "so the answer's tokens cannot be told apart.",
            hint="Train this task on another base model.",
        )
    prompt_ids = tokenizer.encode(prompt, add_special_tokens=False)
    completion_ids = tokenizer.encode(whole[len(prompt) :], add_special_tokens=False)
    return Row(input_ids=(*prompt_ids, *completion_ids), prompt_tokens=len(prompt_ids))


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


def micro_batch_size(batch_size: int, longest_row: int, *, max_tokens: int) -> int:
    """Return how many rows go through the model at once: a divisor of `batch_size`, at least 1.

    A forward pass then has at most `max_tokens` tokens; what is left of the batch is accumulated.
    """
    fitting = max(1, max_tokens // longest_row)
    return max(size for size in range(1, min(fitting, batch_size) + 1) if batch_size % size == 0)
