"""The items of one call: who is at work, who had their time, how long to wait."""

import pytest

from freesolo.runtime.batches import Batch


def test_an_item_waits_works_and_is_done() -> None:
    batch = Batch.of(range(2), seconds=10)

    batch.begin(1, now=0)
    batch.finish(1, "reward")

    assert batch.waiting == {0}
    assert batch.outcomes == {1: "reward"}


def test_each_item_has_a_deadline_of_its_own() -> None:
    batch = Batch.of(range(2), seconds=10)
    batch.begin(0, now=0)
    batch.begin(1, now=4)

    assert batch.patience(now=5) == 5
    batch.expire(now=10)

    assert (batch.late, set(batch.begun)) == ({0}, {1})
    assert batch.patience(now=10) == 4


def test_what_comes_too_late_does_not_count() -> None:
    batch = Batch.of(range(2), seconds=10)
    batch.begin(0, now=0)
    batch.expire(now=11)

    batch.finish(0, "reward")

    assert (batch.outcomes, batch.late) == ({}, {0})


def test_with_nothing_at_work_the_first_item_has_as_long_to_begin() -> None:
    assert Batch.of(range(2), seconds=10).patience(now=3) == 10


def test_once_all_that_is_left_hangs_nothing_more_can_come() -> None:
    batch = Batch.of(range(2), seconds=10)
    batch.begin(0, now=0)
    batch.begin(1, now=0)
    batch.finish(1, "reward")

    batch.expire(now=10)

    assert batch.patience(now=10) == 0


def test_while_others_wait_they_get_a_moment_to_begin() -> None:
    batch = Batch.of(range(2), seconds=10)
    batch.begin(0, now=0)
    batch.expire(now=10)

    assert batch.patience(now=10) == 1


def test_late_answers_win_those_who_wait_no_more_time() -> None:
    batch = Batch.of(range(2), seconds=10)
    batch.begin(0, now=0)
    batch.expire(now=10)

    batch.finish(0, "reward")
    batch.expire(now=11)

    assert batch.patience(now=11) == 0


@pytest.mark.parametrize("item", [0, 7])
def test_only_what_waits_can_begin_and_only_what_began_can_finish(item: int) -> None:
    batch = Batch.of(range(2), seconds=10)
    batch.begin(0, now=0)

    with pytest.raises(KeyError):
        batch.begin(item, now=1)
    with pytest.raises(KeyError):
        batch.finish(1, "reward")


def test_of_a_process_that_ended_those_at_work_are_suspects() -> None:
    batch = Batch.of(range(4), seconds=10)
    batch.begin(0, now=0)
    batch.begin(2, now=0)
    batch.begin(3, now=0)
    batch.finish(0, "reward")

    assert batch.suspects() == [2, 3]


def test_of_a_process_of_which_nothing_was_heard_all_are_suspects() -> None:
    assert Batch.of(range(3), seconds=10).suspects() == [0, 1, 2]


def test_those_that_wait_after_others_were_done_are_no_suspects() -> None:
    batch = Batch.of(range(3), seconds=10)
    batch.begin(0, now=0)
    batch.finish(0, "reward")

    assert batch.suspects() == []
