from hypothesis import given
from hypothesis import strategies as st

from training_backend.packing import batches_by_length

lengths = st.lists(st.integers(1, 400), min_size=1, max_size=40)


def cost(lengths: list[int], batches: list[list[int]], pass_cost: int) -> int:
    return sum(len(batch) * max(lengths[place] for place in batch) + pass_cost for batch in batches)


@given(lengths=lengths, max_tokens=st.integers(1, 2000), pass_cost=st.integers(0, 500))
def test_batches_hold_every_row_once_and_are_no_larger_than_they_may(
    lengths: list[int], max_tokens: int, pass_cost: int
) -> None:
    batches = batches_by_length(lengths, max_tokens=max_tokens, pass_cost=pass_cost)

    assert sorted(place for batch in batches for place in batch) == list(range(len(lengths)))
    for batch in batches:
        padded = len(batch) * max(lengths[place] for place in batch)
        assert len(batch) == 1 or padded <= max_tokens
    in_order = [lengths[place] for batch in batches for place in batch]
    assert in_order == sorted(lengths, reverse=True)


@given(lengths=lengths, pass_cost=st.integers(0, 500), every=st.integers(1, 40))
def test_no_even_split_costs_less(lengths: list[int], pass_cost: int, every: int) -> None:
    order = sorted(range(len(lengths)), key=lambda place: lengths[place], reverse=True)
    even = [order[start : start + every] for start in range(0, len(order), every)]

    batches = batches_by_length(lengths, max_tokens=100_000, pass_cost=pass_cost)

    assert cost(lengths, batches, pass_cost) <= cost(lengths, even, pass_cost)


def test_without_a_cost_for_passes_there_is_no_padding() -> None:
    assert batches_by_length([3, 5, 3], max_tokens=100, pass_cost=0) == [[1], [0, 2]]


def test_a_costly_pass_is_worth_some_padding() -> None:
    assert batches_by_length([90, 100, 10], max_tokens=1000, pass_cost=50) == [[1, 0], [2]]
