from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from training_backend.packing import Row, batches_by_length, make_batches, make_packs, tokens_of

ids = st.lists(st.integers(1, 3), min_size=1, max_size=5).map(tuple)


def row(prompt: tuple[int, ...], after: tuple[int, ...]) -> Row:
    size = len(after)
    return Row(prompt, after, (True,) * size, (1.0,) * size, (0.0,) * size)


rows = st.lists(st.builds(row, ids, ids), min_size=1, max_size=12)


def test_a_prompt_stands_once_and_branches_count_on_from_its_end() -> None:
    (pack,) = make_packs([row((7, 8), (1, 2)), row((7, 8), (3,))], max_tokens=99)

    assert pack.ids == (7, 8, 1, 2, 3)
    assert pack.positions == [0, 1, 2, 3, 2]
    assert pack.branches == [0, 0, 1, 1, 2]
    # Both first tokens are predicted from the end of the prompt.
    assert pack.predictors == [1, 2, 1]


def test_a_pack_that_would_be_too_long_is_closed() -> None:
    packs = make_packs([row((7,), (1, 1)), row((7,), (2, 2)), row((7,), (3, 3))], max_tokens=5)
    assert [len(pack.rows) for pack in packs] == [2, 1]


def test_prompts_are_not_shared_where_the_model_would_mix_the_branches() -> None:
    packs = make_packs([row((7,), (1,)), row((7,), (2,))], max_tokens=99, share_prompts=False)
    assert [len(pack.rows) for pack in packs] == [1, 1]


@given(rows)
def test_tokens_are_counted_as_packs_hold_them(given_rows: list[Row]) -> None:
    packs = make_packs(given_rows, max_tokens=10**6)
    assert tokens_of(given_rows) == sum(pack.tokens for pack in packs)


@given(rows, st.integers(1, 40))
def test_every_row_is_in_one_pack_and_every_pack_in_one_batch(
    given_rows: list[Row], most: int
) -> None:
    packs = make_packs(given_rows, max_tokens=most)
    batches = make_batches(packs, max_tokens=most)

    placed = [row for batch in batches for pack in batch for row in pack.rows]
    assert Counter(placed) == Counter(given_rows)
    for batch in batches:
        padded = len(batch) * max(pack.tokens for pack in batch)
        assert padded <= most or len(batch) == 1
    for pack in packs:
        assert pack.tokens <= most or len(pack.rows) == 1


@given(rows)
def test_each_token_is_predicted_from_the_one_before_it_in_its_row(given_rows: list[Row]) -> None:
    for pack in make_packs(given_rows, max_tokens=40):
        before = iter(pack.predictors)
        for packed in pack.rows:
            whole = packed.prompt + packed.after
            for place in range(len(packed.prompt), len(whole)):
                assert pack.ids[next(before)] == whole[place - 1]


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
