"""LoRA arithmetic for batches against its definition, one row at a time."""

import pytest

pytest.importorskip("torch")

import torch

from serving_backend.cpu_lora import Batch, add, add_by_adapter, pack, plan

_SLOTS, _RANK, _WIDTH = 4, 3, 10
_PARTS = (5, 7)
_MANY = 70
_BATCHES = {
    "no adapter": [-1] * 6,
    "one adapter": [2] * 6,
    "mixed": [0, -1, 2, 2, -1, 1],
    "one adapter beside the base model": [3, 3, -1, -1, 3, -1],
    "one row of an adapter among many": [-1] * 9 + [1],
    "many rows in blocks": [0] * _MANY + [3] * _MANY,
    "many rows in turns": [1, 2] * _MANY,
    "many rows beside few": [0] * _MANY + [-1, 1, 3, 1],
    "few rows beside many that are spread": [2, -1] * _MANY + [0],
}


@pytest.fixture(params=list(_BATCHES.values()), ids=list(_BATCHES))
def slots(request: pytest.FixtureRequest) -> torch.Tensor:
    return torch.tensor(request.param)


def test_each_row_meets_its_own_adapter(slots: torch.Tensor) -> None:
    downs, ups = _adapters()
    inputs, output = _random(len(slots), _WIDTH), _random(len(slots), sum(_PARTS))
    expected = output + _reference(inputs, downs, ups, slots)
    add(output, inputs, pack(downs, ups), plan(slots))
    torch.testing.assert_close(output, expected)


def test_a_row_without_adapter_stays_as_it_is_to_the_bit(slots: torch.Tensor) -> None:
    inputs, output = _random(len(slots), _WIDTH), _random(len(slots), sum(_PARTS))
    before = output.clone()
    add(output, inputs, pack(*_adapters()), plan(slots))
    assert output[slots == -1].equal(before[slots == -1])


def test_what_is_not_a_number_in_one_row_stays_there(slots: torch.Tensor) -> None:
    inputs = _random(len(slots), _WIDTH)
    inputs[0] = torch.nan
    output = torch.zeros(len(slots), sum(_PARTS))
    add(output, inputs, pack(*_adapters()), plan(slots))
    assert output[1:].isfinite().all()


def test_an_adapter_written_after_packing_is_used() -> None:
    downs, ups = _adapters()
    weights, slots = pack(downs, ups), torch.tensor([1, 0, 1])
    for tensor in (*downs, *ups):
        tensor[1] = 2 * tensor[1]
    inputs, output = _random(3, _WIDTH), torch.zeros(3, sum(_PARTS))
    add(output, inputs, weights, plan(slots))
    torch.testing.assert_close(output, _reference(inputs, downs, ups, slots))


def test_adapters_that_change_the_vocabulary_are_added_one_by_one(slots: torch.Tensor) -> None:
    (down, *_), (up, *_) = _adapters()
    down[2], up[2] = 0, 0
    inputs, output = _random(len(slots), _WIDTH), torch.zeros(len(slots), _PARTS[0] + 2)
    add_by_adapter(output, inputs, down, up, plan(slots))
    expected = _reference(inputs, [down], [up], slots)
    torch.testing.assert_close(output[:, : _PARTS[0]], expected)
    assert not output[:, _PARTS[0] :].any()


def test_what_is_shrunk_already_is_only_expanded(slots: torch.Tensor) -> None:
    _, (up, *_) = _adapters()
    shrunk, output = _random(len(slots), _RANK), torch.zeros(len(slots), _PARTS[0])
    add_by_adapter(output, shrunk, None, up, plan(slots))
    one = torch.eye(_RANK).expand(_SLOTS, 1, -1, -1)
    torch.testing.assert_close(output, _reference(shrunk, [one], [up], slots))


def test_a_small_batch_is_one_piece_however_many_adapters_it_has() -> None:
    assert len(plan(torch.tensor([0, 1, 2, 3] * 8)).pieces) == 1
    assert plan(torch.tensor([-1] * 8)) == Batch((), {})


def _adapters() -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    downs = [_random(_SLOTS, 1, _RANK, _WIDTH) for _ in _PARTS]
    return downs, [_random(_SLOTS, 1, width, _RANK) for width in _PARTS]


def _reference(
    inputs: torch.Tensor, downs: list[torch.Tensor], ups: list[torch.Tensor], slots: torch.Tensor
) -> torch.Tensor:
    width = sum(up.shape[2] for up in ups)
    rows = [
        torch.cat(
            [up[slot, 0] @ (down[slot, 0] @ row) for down, up in zip(downs, ups, strict=True)]
        )
        if slot >= 0
        else torch.zeros(width)
        for row, slot in zip(inputs, slots.tolist(), strict=True)
    ]
    return torch.stack(rows)


def _random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))
