"""What is kept of an answer for a caller who reads slowly, or has gone."""

import asyncio
from collections.abc import Coroutine

import pytest

from freesolo.errors import EngineUnavailable
from serving_backend.reading import AHEAD, TOGETHER, Reading


async def _turns() -> None:
    """Let every task go on as far as it can."""
    for _ in range(5):
        await asyncio.sleep(0)


def _run(story: Coroutine[None, None, None]) -> None:
    asyncio.run(story)


async def _filled(reading: Reading) -> "asyncio.Task[None]":
    for number in range(AHEAD):
        await reading.put({"number": number})
    putting = asyncio.create_task(reading.put({"number": AHEAD}))
    await _turns()
    return putting


def test_so_much_is_kept_and_then_the_engine_has_to_wait() -> None:
    async def story() -> None:
        reading = Reading()
        putting = await _filled(reading)
        assert not putting.done()
        assert await reading.next() == [{"number": number} for number in range(TOGETHER)]
        await putting

    _run(story())


def test_nobody_waits_for_a_caller_who_has_left() -> None:
    async def story() -> None:
        reading = Reading()
        putting = await _filled(reading)
        reading.leave()
        await putting
        for number in range(2 * AHEAD):
            await reading.put({"number": number})
        await reading.end(None)

    _run(story())


def test_an_answer_that_has_ended_waits_for_nobody_who_has_left() -> None:
    async def story() -> None:
        reading = Reading()
        for number in range(AHEAD):
            await reading.put({"number": number})
        ending = asyncio.create_task(reading.end(None))
        await _turns()
        assert not ending.done()
        reading.leave()
        await ending

    _run(story())


def test_an_answer_that_is_broken_off_tells_its_caller_why() -> None:
    async def story() -> None:
        reading = Reading()
        putting = await _filled(reading)
        late = EngineUnavailable("late")
        reading.break_off(late)
        await putting
        assert await reading.next() == [late]

    _run(story())


@pytest.mark.parametrize("end", [None, EngineUnavailable("broken")])
def test_pieces_that_wait_come_together_and_end_with_the_answer(
    end: EngineUnavailable | None,
) -> None:
    async def story() -> None:
        reading = Reading()
        for number in range(TOGETHER + 1):
            await reading.put({"number": number})
        await reading.end(end)
        assert await reading.next() == [{"number": number} for number in range(TOGETHER)]
        assert await reading.next() == [{"number": TOGETHER}, end]

    _run(story())


def test_an_answer_of_nothing_is_an_answer() -> None:
    async def story() -> None:
        reading = Reading()
        await reading.end(None)
        await reading.begun
        assert await reading.next() == [None]

    _run(story())


def test_an_answer_that_never_began_is_refused() -> None:
    async def story() -> None:
        reading = Reading()
        await reading.end(EngineUnavailable("no"))
        with pytest.raises(EngineUnavailable):
            await reading.begun

    _run(story())
