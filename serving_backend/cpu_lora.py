"""LoRA arithmetic for a batch of many adapters on a CPU.

At the size of a step's batch, starting a matrix product costs more than computing it. So all rows are
multiplied with the weights of all adapters of the batch at once, and what a row has of others' is set
to zero in between: as many products as for one adapter, however many there are. Only an adapter with
many rows has products of its own.

A row without adapter, marked -1, gets exactly zero. Others' weights are met by zeros only; they must be
finite for that, which is checked when an adapter is loaded.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

# From so many rows on, an adapter's own products cost less than others' zeros.
_MANY_ROWS = 64


@dataclass(frozen=True)
class Piece:
    """Rows that are computed together, with the adapters in the slots from `first` to before `stop`.

    `foreign` tells by row and slot where a row does not use the slot; None if every row uses the one.
    """

    rows: slice | Tensor
    first: int
    stop: int
    foreign: Tensor | None


@dataclass(frozen=True)
class Batch:
    """How the rows of one step are computed: in pieces, and where that does not pay by adapter."""

    pieces: tuple[Piece, ...]
    rows_of: dict[int, Tensor]


@dataclass(frozen=True)
class Weights:
    """The adapters of one layer: slots by parts of the layer by rank by features in, and for each
    part features out by slots by rank, so that neighbouring slots are one matrix."""

    down: Tensor
    ups: tuple[Tensor, ...]


def plan(slots: Tensor) -> Batch:
    """Decide how a batch is computed whose rows use these slots, -1 for none."""
    listed = slots.tolist()
    rows_of: dict[int, list[int]] = defaultdict(list)
    for row, slot in enumerate(listed):
        if slot >= 0:
            rows_of[slot].append(row)
    apart = {slot for slot, rows in rows_of.items() if len(rows) >= _MANY_ROWS}
    together = sorted(row for slot in rows_of.keys() - apart for row in rows_of[slot])
    if 2 * len(together) > len(listed):
        # Leaving the few others out would cost more than their zeros.
        together = list(range(len(listed)))
    pieces = [_piece(slots, rows_of[slot], [slot]) for slot in sorted(apart)]
    if together:
        pieces.append(_piece(slots, together, sorted(rows_of.keys() - apart)))
    return Batch(tuple(pieces), {slot: torch.tensor(rows) for slot, rows in rows_of.items()})


def _piece(slots: Tensor, rows: list[int], used: list[int]) -> Piece:
    first, stop = used[0], used[-1] + 1
    chosen = torch.tensor(rows)
    foreign = slots[chosen].unsqueeze(1) != torch.arange(first, stop)
    neighbours = rows[-1] - rows[0] == len(rows) - 1
    return Piece(
        rows=slice(rows[0], rows[-1] + 1) if neighbours else chosen,
        first=first,
        stop=stop,
        foreign=foreign[:, :, None, None] if foreign.any() else None,
    )


def pack(downs: Sequence[Tensor], ups: Sequence[Tensor]) -> Weights:
    """Lay a layer's weights out for `add`; the tensors given stay what vLLM writes adapters into.

    They are slots by one by features out by features in, one of each for every part of the layer.
    """
    down = torch.cat(tuple(downs), dim=1)
    for part, tensor in enumerate(downs):
        tensor.set_(down[:, part : part + 1])
    packed = tuple(tensor.squeeze(1).transpose(0, 1).contiguous() for tensor in ups)
    for tensor, up in zip(ups, packed, strict=True):
        tensor.set_(up.transpose(0, 1).unsqueeze(1))
    return Weights(down, packed)


def add(output: Tensor, inputs: Tensor, weights: Weights, batch: Batch) -> None:
    """Add to each row of `output` what its adapter makes of the row of `inputs`."""
    for piece in batch.pieces:
        down = weights.down[piece.first : piece.stop]
        shrunk = (inputs[piece.rows] @ down.flatten(0, 2).t()).unflatten(1, down.shape[:3])
        if piece.foreign is not None:
            shrunk.masked_fill_(piece.foreign, 0)
        column = 0
        for part, up in enumerate(weights.ups):
            columns = output[:, column : column + len(up)]
            expand = up[:, piece.first : piece.stop].flatten(1).t()
            _add_product(columns, piece.rows, shrunk[:, :, part].flatten(1), expand)
            column += len(up)


def _add_product(output: Tensor, rows: slice | Tensor, left: Tensor, right: Tensor) -> None:
    if isinstance(rows, slice):
        output[rows].addmm_(left, right)
    else:
        # Several times as fast as `index_add_`.
        output.index_copy_(0, rows, output[rows].addmm_(left, right))


def add_by_adapter(
    output: Tensor, inputs: Tensor, down: Tensor | None, up: Tensor, batch: Batch
) -> None:
    """Do what `add` does, one adapter after the other, for a layer that most adapters leave alone.

    Without `down`, `inputs` are shrunk already. The weights are slots by one by features out by
    features in.
    """
    for slot, rows in batch.rows_of.items():
        # A slot without weights for this layer holds zeros. `up` may be as wide as a vocabulary.
        if not (up if down is None else down)[slot].any():
            continue
        shrunk = inputs[rows] if down is None else inputs[rows] @ down[slot, 0].t()
        # The model and the adapter may pad the output to different widths.
        width = min(output.shape[1], up.shape[2])
        _add_product(output[:, :width], rows, shrunk, up[slot, 0, :width].t())
