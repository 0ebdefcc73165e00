"""Work side by side: in order, never too much of it, and stopped at the first fault."""

import threading

import pytest

from freesolo.evaluation.workers import side_by_side


def test_results_come_in_order_from_all_workers_at_once() -> None:
    together = threading.Barrier(4, timeout=60)

    def double(number: int) -> int:
        together.wait()
        return 2 * number

    assert list(side_by_side(double, range(8), workers=4)) == list(range(0, 16, 2))


def test_no_more_is_under_way_than_is_allowed() -> None:
    lock, now, most = threading.Lock(), 0, 0

    def work(_: int) -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        with lock:
            now -= 1

    list(side_by_side(work, range(200), workers=3))
    assert 1 <= most <= 3


def test_what_one_raises_is_raised_and_the_rest_is_not_begun() -> None:
    begun: list[int] = []

    def work(number: int) -> int:
        begun.append(number)
        if number == 1:
            raise KeyError(number)
        return number

    found = side_by_side(work, range(100), workers=1)
    assert next(found) == 0
    with pytest.raises(KeyError):
        next(found)
    assert begun == [0, 1]


def test_workers_do_not_run_away_from_who_takes_the_results() -> None:
    begun: list[int] = []
    found = side_by_side(begun.append, range(1000), workers=2)
    for _ in range(10):
        next(found)
    found.close()
    assert len(begun) <= 10 + 4 * 2


def test_no_worker_is_left_when_all_is_done_or_given_up() -> None:
    before = set(threading.enumerate())
    list(side_by_side(str, range(50), workers=8))
    given_up = side_by_side(str, range(50), workers=8)
    next(given_up)
    given_up.close()
    left = set(threading.enumerate()) - before
    for thread in left:
        thread.join(timeout=60)
    assert not any(thread.is_alive() for thread in left)


def test_nothing_to_do_is_done_at_once() -> None:
    assert list(side_by_side(str, (), workers=4)) == []
