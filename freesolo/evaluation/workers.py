"""Work done side by side, its results taken in order."""

import queue
import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

# How many items each worker may be ahead of what was taken: one that takes long holds nobody up, and
# little is done in vain when the caller stops.
_AHEAD = 4


def side_by_side(
    work: Callable[[Item], Result], items: Sequence[Item], *, workers: int
) -> Generator[Result, None, None]:
    """Yield `work(item)` for each item, in order, with at most `workers` of them under way.

    What one raises is raised here, and nothing further is begun; so it is when the caller stops.
    What is under way then is not waited for: it ends with the process, as after Ctrl-C.
    """
    todo: queue.SimpleQueue[tuple[Item, Future[Result]]] = queue.SimpleQueue()
    futures: list[Future[Result]] = [Future() for _ in items]
    for task in zip(items, futures, strict=True):
        todo.put(task)
    room = threading.Semaphore(_AHEAD * workers)
    stopped = threading.Event()

    def run() -> None:
        while room.acquire() and not stopped.is_set():
            try:
                item, future = todo.get_nowait()
            except queue.Empty:
                return
            try:
                future.set_result(work(item))
            except BaseException as error:  # noqa: BLE001 - raised again where the result is wanted
                # Items are begun in order, so whatever comes before this one still gets its result.
                stopped.set()
                future.set_exception(error)

    for _ in range(workers):
        threading.Thread(target=run, daemon=True).start()
    try:
        for future in futures:
            yield future.result()
            room.release()
    finally:
        stopped.set()
        room.release(workers)
