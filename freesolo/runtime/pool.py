"""The processes behind an environment host: one or several, each started anew when it is lost."""

import queue
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from freesolo.errors import EnvironmentFailed
from freesolo.runtime.batches import Batch
from freesolo.runtime.child import AuthorRaised, Child, ChildHung, ChildLost


@dataclass(frozen=True)
class Launch:
    """How a process is started: `start` starts it, and `load` returns the arguments of its first call.

    It may take `seconds` to load, and as many to begin any call.
    """

    start: Callable[[], Child]
    load: Callable[[], Mapping[str, object]]
    seconds: float


class Member:
    """One process, started when it is first needed. For one thread at a time.

    `hung` counts its calls that were given up because no answer came in time.
    """

    def __init__(self, launch: Launch) -> None:
        self._launch = launch
        self._child: Child | None = None
        self._stopped = False
        self.loaded: object = None
        self.hung = 0

    def start(self) -> Child:
        """Start the process and load the environment; `loaded` is what it says of it then."""
        child = self._child = self._launch.start()
        if self._stopped:
            self.drop()
            raise _closed()
        try:
            self.loaded = self.ask("load", self._launch.load(), seconds=self._launch.seconds)
        except EnvironmentFailed:
            self.drop()
            raise
        return child

    def ask(self, method: str, arguments: Mapping[str, object], *, seconds: float) -> object:
        """Call `method` and return its value. Raise `EnvironmentFailed` if there is none."""
        with self._at_work() as child:
            return child.ask(method, arguments, seconds=seconds, start_seconds=self._launch.seconds)

    def ask_each(
        self, method: str, arguments: Mapping[str, object], batch: Batch
    ) -> EnvironmentFailed | None:
        """Call a `method` that tells of each item; return why it did not come to its end, if so."""
        try:
            with self._at_work() as child:
                child.begin(method, arguments, seconds=self._launch.seconds)
                batch.started = True
                _follow(child, method, batch)
        except EnvironmentFailed as error:
            return error
        return None

    def drop(self) -> None:
        """End the process; the next call starts another."""
        if self._child is not None:
            child, self._child = self._child, None
            child.kill()

    def stop(self) -> None:
        """End the process for good, from another thread than that of the call under way, which fails."""
        self._stopped = True
        if (child := self._child) is not None:
            child.stop()

    def close(self) -> None:
        """Let the process end by itself, for a moment, then end it."""
        if self._child is not None:
            child, self._child = self._child, None
            child.close()

    @contextmanager
    def _at_work(self) -> Iterator[Child]:
        child = self._child or self.start()
        try:
            yield child
        except ChildLost as error:
            self.hung += isinstance(error, ChildHung)
            self.drop()
            raise EnvironmentFailed(
                f"The environment failed: {error}.", traceback=child.output() or None
            ) from None
        except AuthorRaised as error:
            raise failure(error) from error
        except BaseException:
            # Interrupted: the answer that still comes would be taken for that to the next call.
            self.drop()
            raise


class Pool:
    """Members of one kind. A call has one to itself; with none idle it waits for one."""

    def __init__(self, launch: Launch, *, size: int) -> None:
        self.size = size
        self._closed = False
        # The one that was at work last is taken first: the others are started only if needed.
        self._idle: queue.LifoQueue[Member] = queue.LifoQueue()
        self._members = [Member(launch) for _ in range(size)]
        for member in self._members:
            self._idle.put(member)

    @property
    def hung(self) -> int:
        """How many calls were given up because no answer came in time."""
        return sum(member.hung for member in self._members)

    @contextmanager
    def member(self) -> Iterator[Member]:
        """Have a member to oneself. Raise `RuntimeError` if the pool is closed."""
        member = self._idle.get()
        try:
            if self._closed:
                raise _closed()
            yield member
        finally:
            self._idle.put(member)

    def close(self) -> None:
        """End all processes, for good. Calls that are under way in other threads fail."""
        self._closed = True
        idle: list[Member] = []
        with suppress(queue.Empty):
            while True:
                idle.append(self._idle.get_nowait())
        for member in self._members:
            if member not in idle:
                member.stop()
        idle += [self._idle.get() for _ in range(self.size - len(idle))]
        for member in idle:
            member.close()
            self._idle.put(member)


def _closed() -> RuntimeError:
    return RuntimeError("The environment's host is closed")


def failure(error: AuthorRaised) -> EnvironmentFailed:
    """Return what an exception of the author's code is to our callers."""
    failed = EnvironmentFailed(str(error), traceback=error.traceback)
    failed.__cause__ = error
    return failed


def _follow(child: Child, method: str, batch: Batch) -> None:
    """Take down what the child tells until its call has ended, or nothing more can come.

    An item that hangs is given up when its time is over, while the others go on.
    """
    while patience := batch.patience(time.monotonic()):
        try:
            reply = child.reply(method, seconds=patience)
        except ChildHung:
            if not batch.begun:
                break
        else:
            if not _note(child, method, batch, reply):
                return
        batch.expire(time.monotonic())
    raise ChildHung(f"`{method}` gave no answer within {batch.seconds:g} seconds")


def _note(child: Child, method: str, batch: Batch, reply: object) -> bool:
    """Take down one reply; say whether more are to come."""
    try:
        match reply:
            case {"items": [_, *_] as notes}:
                for note in notes:
                    _note_item(child, method, batch, note)
                return True
        child.value(reply, method)
        if batch.waiting or batch.begun:
            raise ChildLost("the process broke the protocol")
    except KeyError:
        raise ChildLost("the process broke the protocol") from None
    return False


def _note_item(child: Child, method: str, batch: Batch, note: object) -> None:
    match note:
        case {"item": int() as item, **outcome}:
            pass
        case _:
            raise ChildLost("the process broke the protocol")
    if not outcome:
        batch.begin(item, time.monotonic())
        return
    try:
        batch.finish(item, child.value(outcome, method))
    except AuthorRaised as error:
        batch.finish(item, failure(error))
