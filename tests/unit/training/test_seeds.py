from hypothesis import given
from hypothesis import strategies as st

from training_backend.sampling.sampler import seed_of

places = st.lists(st.integers(0, 10**6), min_size=1, max_size=5)


@given(st.integers(0, 2**31 - 1), places, places)
def test_no_two_places_share_a_seed(run: int, one: list[int], other: list[int]) -> None:
    assert (seed_of(run, *one) == seed_of(run, *other)) == (one == other)
    assert 0 <= seed_of(run, *one) < 2**63
