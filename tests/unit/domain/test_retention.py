from hypothesis import given
from hypothesis import strategies as st

from freesolo.domain.retention import Dropped, Saved, droppable


def saved(*steps: int, in_use: tuple[int, ...] = ()) -> list[Saved]:
    return [Saved(step, state=True, adapter=True, in_use=step in in_use) for step in steps]


def drop(
    points: list[Saved],
    *,
    ended: bool = False,
    result: int | None = None,
    keep_adapters: int | None = None,
) -> tuple[set[int], set[int]]:
    dropped = droppable(points, ended=ended, result=result, keep_adapters=keep_adapters)
    return set(dropped.states), set(dropped.adapters)


def test_only_the_newest_state_of_a_run_that_goes_on_is_kept() -> None:
    assert drop(saved(1, 2, 3)) == ({1, 2}, set())


def test_a_run_that_ended_is_not_resumed() -> None:
    assert drop(saved(1, 2, 3), ended=True, result=3) == ({1, 2, 3}, set())


def test_only_the_newest_adapters_are_kept_if_that_is_asked_for() -> None:
    assert drop(saved(1, 2, 3, 4), keep_adapters=2)[1] == {1, 2}


def test_a_result_and_what_is_served_outlive_newer_adapters() -> None:
    points = saved(1, 2, 3, 4, 5, in_use=(2,))
    assert drop(points, ended=True, result=1, keep_adapters=1)[1] == {3, 4}


def test_nothing_saved_is_nothing_to_drop() -> None:
    assert drop([], ended=True, keep_adapters=1) == (set(), set())


@given(
    points=st.dictionaries(
        st.integers(1, 50), st.tuples(st.booleans(), st.booleans(), st.booleans()), max_size=12
    ),
    ended=st.booleans(),
    keep=st.none() | st.integers(1, 5),
)
def test_what_somebody_needs_never_goes_and_what_went_goes_no_more(
    points: dict[int, tuple[bool, bool, bool]], ended: bool, keep: int | None
) -> None:
    given_points = [
        Saved(step, state=state, adapter=adapter, in_use=in_use)
        for step, (state, adapter, in_use) in sorted(points.items())
    ]
    result = given_points[0].step if given_points and ended else None
    dropped = droppable(given_points, ended=ended, result=result, keep_adapters=keep)
    for point in given_points:
        if point.in_use or point.step == result or point == given_points[-1]:
            assert point.step not in dropped.adapters
        if point == given_points[-1] and not ended:
            assert point.step not in dropped.states
    left = [
        Saved(
            point.step,
            state=point.state and point.step not in dropped.states,
            adapter=point.adapter and point.step not in dropped.adapters,
            in_use=point.in_use,
        )
        for point in given_points
    ]
    again = droppable(left, ended=ended, result=result, keep_adapters=keep)
    assert again == Dropped(frozenset(), frozenset())
