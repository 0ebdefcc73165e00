import threading
from collections.abc import Sequence

import pytest

from freesolo.domain.watchdog import Phase
from freesolo.errors import LeaseLost, PayloadTooLarge
from freesolo.schemas.runs import EventKind, NewEvent
from training_backend.outbox import Outbox


def line(number: int) -> NewEvent:
    return NewEvent(kind=EventKind.LOG, data={"message": str(number)})


class Hub:
    """What arrives, in order: events one by one, phases, deliveries. It waits until it is `open`."""

    def __init__(self, *, is_open: bool = True) -> None:
        self.arrived: list[object] = []
        self.open = threading.Event()
        if is_open:
            self.open.set()

    def send(self, events: Sequence[NewEvent], phase: Phase | None) -> None:
        self.open.wait()
        self.arrived += [*events, *([phase] if phase else [])]

    def deliver(self, name: str) -> None:
        self.open.wait()
        self.arrived.append(name)


def test_events_arrive_once_and_in_order() -> None:
    hub = Hub()
    outbox = Outbox(hub.send)

    for number in range(1200):
        outbox.add(line(number))
    outbox.flush()

    assert hub.arrived == [line(number) for number in range(1200)]


def test_nobody_waits_for_a_hub_that_does_not_answer() -> None:
    hub = Hub(is_open=False)
    outbox = Outbox(hub.send)

    for number in range(3):
        outbox.add(line(number), hurry=True)
    outbox.post(lambda: hub.deliver("checkpoint"))
    outbox.add(line(3))
    outbox.enter(Phase.STEP)
    assert hub.arrived == []
    hub.open.set()
    outbox.flush()

    # What it does now is told as soon as anything is.
    assert Phase.STEP in hub.arrived
    hub.arrived.remove(Phase.STEP)
    assert hub.arrived == [line(0), line(1), line(2), "checkpoint", line(3)]


def test_of_phases_only_the_last_is_told() -> None:
    hub = Hub(is_open=False)
    outbox = Outbox(hub.send)
    outbox.add(line(0), hurry=True)

    for phase in (Phase.STEP, Phase.CHECKPOINT, Phase.ROLLOUTS):
        outbox.enter(phase)
    hub.open.set()
    outbox.flush()

    # What was said first may have gone out with the event.
    assert hub.arrived[-1] == Phase.ROLLOUTS
    assert Phase.CHECKPOINT not in hub.arrived


def test_deliveries_that_pile_up_are_waited_for() -> None:
    hub = Hub(is_open=False)
    outbox = Outbox(hub.send)
    posted: list[int] = []

    def post_many() -> None:
        for number in range(10):
            outbox.post(lambda: hub.deliver("checkpoint"))
            posted.append(number)

    poster = threading.Thread(target=post_many)
    poster.start()
    poster.join(timeout=0.5)
    waiting = len(posted)
    hub.open.set()
    poster.join()
    outbox.flush()

    assert waiting < 10
    assert hub.arrived == ["checkpoint"] * 10


def test_a_lost_lease_comes_out_of_the_next_flush() -> None:
    def send(events: Sequence[NewEvent], phase: Phase | None) -> None:
        raise LeaseLost("The lease is no longer ours.")

    outbox = Outbox(send)
    outbox.add(line(1))

    with pytest.raises(LeaseLost):
        outbox.flush()


def test_events_after_a_refused_one_still_arrive() -> None:
    arrived: list[NewEvent] = []

    def send(events: Sequence[NewEvent], phase: Phase | None) -> None:
        if events[0] == line(1):
            raise PayloadTooLarge("That is too much for one line.")
        arrived.extend(events)

    outbox = Outbox(send)
    outbox.add(line(1))
    with pytest.raises(PayloadTooLarge):
        outbox.flush()
    outbox.add(line(2))
    outbox.flush()

    assert arrived == [line(2)]
