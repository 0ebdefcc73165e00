import threading
from collections.abc import Sequence

import pytest

from freesolo.errors import LeaseLost, PayloadTooLarge
from freesolo.schemas.runs import EventKind, NewEvent
from training_backend.progress import EventStream


def line(number: int) -> NewEvent:
    return NewEvent(kind=EventKind.LOG, data={"message": str(number)})


def test_events_arrive_once_and_in_order() -> None:
    arrived: list[NewEvent] = []
    stream = EventStream(arrived.extend)

    for number in range(1200):
        stream.add(line(number))
    stream.flush()

    assert arrived == [line(number) for number in range(1200)]


def test_adding_does_not_wait_for_a_hub_that_is_slow() -> None:
    answer = threading.Event()
    batches: list[int] = []

    def send(events: Sequence[NewEvent]) -> None:
        answer.wait()
        batches.append(len(events))

    stream = EventStream(send)
    for number in range(10):
        stream.add(line(number))
    answer.set()
    stream.flush()

    assert batches == [1, 9]


def test_a_lost_lease_comes_out_of_the_next_flush() -> None:
    def send(events: Sequence[NewEvent]) -> None:
        raise LeaseLost("The lease is no longer ours.")

    stream = EventStream(send)
    stream.add(line(1))

    with pytest.raises(LeaseLost):
        stream.flush()


def test_events_after_a_refused_one_still_arrive() -> None:
    arrived: list[NewEvent] = []

    def send(events: Sequence[NewEvent]) -> None:
        if events[0] == line(1):
            raise PayloadTooLarge("That is too much for one line.")
        arrived.extend(events)

    stream = EventStream(send)
    stream.add(line(1))
    with pytest.raises(PayloadTooLarge):
        stream.flush()
    stream.add(line(2))
    stream.flush()

    assert arrived == [line(2)]
