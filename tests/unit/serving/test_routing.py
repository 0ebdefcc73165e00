"""Which replica answers: the same everywhere, few moves, and no replica far above the others."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from serving_backend.routing import choose, choose_any, order

ADAPTERS = [f"adapter-{number}" for number in range(400)]
REPLICAS = [f"life-{number}" for number in range(5)]


def idle(replicas: list[str]) -> dict[str, int]:
    return dict.fromkeys(replicas, 0)


def test_an_adapter_goes_to_one_replica_whoever_asks_and_in_whatever_order() -> None:
    for adapter in ADAPTERS:
        assert choose(adapter, idle(REPLICAS)) == choose(adapter, idle(REPLICAS[::-1]))


def test_adapters_are_spread_over_all_replicas() -> None:
    homes = Counter(choose(adapter, idle(REPLICAS)) for adapter in ADAPTERS)

    assert set(homes) == set(REPLICAS)
    assert max(homes.values()) < 2 * min(homes.values())


def test_a_replica_that_leaves_moves_only_its_own_adapters() -> None:
    before = {adapter: choose(adapter, idle(REPLICAS)) for adapter in ADAPTERS}
    after = {adapter: choose(adapter, idle(REPLICAS[1:])) for adapter in ADAPTERS}

    assert all(after[adapter] == home for adapter, home in before.items() if home != REPLICAS[0])


def test_a_popular_adapter_spreads_to_the_next_in_its_order() -> None:
    first, second, *_ = order("popular", REPLICAS)
    load = idle(REPLICAS) | {first: 7}
    assert choose("popular", load) == first

    load[first] = 8
    assert choose("popular", load) == second


@given(st.lists(st.integers(0, 500), min_size=1, max_size=8), st.text())
def test_nobody_is_chosen_far_above_the_mean(loads: list[int], key: str) -> None:
    in_flight = {f"life-{number}": load for number, load in enumerate(loads)}

    chosen = in_flight[choose(key, in_flight)]

    assert chosen < max(8, 1.25 * (sum(loads) + 1) / len(loads) + 1)
    assert in_flight[choose_any(key, in_flight)] == min(loads)
