"""Rows of tokens, laid out for the model with little padding and no prompt twice (pure).

Rollouts of one prompt share it: the prompt stands once, and what followed it in each rollout stands
behind it as a branch. A branch attends to the prompt and to itself; it knows nothing of the others,
and its positions count on from the prompt's end. The model computes for each branch what it would
for the row alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

Ids = tuple[int, ...]


@dataclass(frozen=True)
class Row:
    """A sequence to train on: a prompt, and what followed. The other fields have an item for each
    token of `after`.

    `trained` tells which tokens carry loss: those the model said, if their rollout counts. `advantages`
    are theirs, and `logprobs` what they were to the sampler; nan where it did not say.
    """

    prompt: Ids
    after: Ids
    trained: tuple[bool, ...]
    advantages: tuple[float, ...]
    logprobs: tuple[float, ...]

    @property
    def trained_tokens(self) -> int:
        """How many tokens carry loss."""
        return sum(self.trained)


@dataclass(frozen=True)
class Pack:
    """Rows with one prompt, which stands once."""

    prompt: Ids
    rows: tuple[Row, ...]

    @property
    def tokens(self) -> int:
        """How many tokens go through the model."""
        return len(self.prompt) + sum(len(row.after) for row in self.rows)

    @property
    def ids(self) -> Ids:
        """Prompt and branches, one behind the other."""
        return (*self.prompt, *chain.from_iterable(row.after for row in self.rows))

    @property
    def positions(self) -> list[int]:
        """The position of each token in its own row."""
        start = len(self.prompt)
        branches = (range(start, start + len(row.after)) for row in self.rows)
        return [*range(start), *chain.from_iterable(branches)]

    @property
    def branches(self) -> list[int]:
        """The branch of each token, counted from 1; 0 is the prompt."""
        numbered = ([number] * len(row.after) for number, row in enumerate(self.rows, start=1))
        return [*[0] * len(self.prompt), *chain.from_iterable(numbered)]

    @property
    def predictors(self) -> list[int]:
        """For each token of each row's `after`, the place of the token that it is predicted from."""
        last_of_prompt = len(self.prompt) - 1
        places, start = [], len(self.prompt)
        for row in self.rows:
            if row.after:
                places += [last_of_prompt, *range(start, start + len(row.after) - 1)]
            start += len(row.after)
        return places


def make_packs(rows: Sequence[Row], *, max_tokens: int, share_prompts: bool = True) -> list[Pack]:
    """Put rows with the same prompt together, as long as a pack has at most `max_tokens` tokens.

    A row that is longer has a pack of its own.
    """
    packs: list[Pack] = []
    open_packs: dict[Ids, int] = {}
    for row in rows:
        place = open_packs.get(row.prompt) if share_prompts else None
        if place is not None and packs[place].tokens + len(row.after) <= max_tokens:
            packs[place] = Pack(row.prompt, (*packs[place].rows, row))
            continue
        open_packs[row.prompt] = len(packs)
        packs.append(Pack(row.prompt, (row,)))
    return packs


def tokens_of(rows: Sequence[Row]) -> int:
    """Count the tokens of rows, a prompt that they share once, however they are computed."""
    prompts = {row.prompt for row in rows}
    return sum(map(len, prompts)) + sum(len(row.after) for row in rows)


def make_batches(packs: Sequence[Pack], *, max_tokens: int) -> list[list[Pack]]:
    """Put packs of about one length together, so that a padded batch has at most `max_tokens`.

    The longest come first: a batch that does not fit into memory shows at once.
    """
    batches: list[list[Pack]] = []
    room = 0
    for pack in sorted(packs, key=lambda pack: pack.tokens, reverse=True):
        if not batches or room < batches[-1][0].tokens:
            batches.append([])
            room = max(max_tokens, pack.tokens)
        batches[-1].append(pack)
        room -= batches[-1][0].tokens
    return batches


def batches_by_length(
    lengths: Sequence[int], *, max_tokens: int, pass_cost: int
) -> list[list[int]]:
    """Split rows of these lengths into batches that are padded to their longest, at the least cost.

    A batch costs its tokens, padding included, and `pass_cost` more for being one. It has at most
    `max_tokens`, unless it is a single row. Rows are told by their places; the longest come first.
    """
    order = sorted(range(len(lengths)), key=lambda place: lengths[place], reverse=True)
    # For the first so many rows: the least cost, and where their last batch begins.
    best: list[tuple[int, int]] = [(0, 0)]
    for end in range(1, len(order) + 1):
        choices = []
        for start in range(end - 1, -1, -1):
            tokens = lengths[order[start]] * (end - start)
            if tokens > max_tokens and start < end - 1:
                break
            choices.append((best[start][0] + tokens + pass_cost, start))
        best.append(min(choices))
    batches: list[list[int]] = []
    end = len(order)
    while end:
        start = best[end][1]
        batches.insert(0, order[start:end])
        end = start
    return batches
