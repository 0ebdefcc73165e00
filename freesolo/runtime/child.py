"""One process that runs an environment's code, seen from outside: start, ask, kill."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil

from freesolo.runtime import guard, host
from freesolo.runtime.masking import mask, mask_all
from freesolo.runtime.sandbox import Limits, clean_environment

_CLOSE_SECONDS = 1.0
_MESSAGE_SECONDS = 5.0
_REAP_SECONDS = 5.0
_CHUNK_BYTES = 1 << 20
_MIB = 1024**2
_BY_SIGNAL = 128


class AuthorRaised(Exception):
    """The author's code raised; the text says what, `traceback` holds the author's own frames."""

    def __init__(self, message: str, traceback: str | None) -> None:
        super().__init__(message)
        self.traceback = traceback


class ChildLost(Exception):
    """The process hung, died or broke the protocol; the text says which."""


class ChildHung(ChildLost):
    """The process lives, but did not answer in time."""


@dataclass(frozen=True)
class Program:
    """What to start: `command` in `folder`, with `secrets` among its environment variables.

    Without a `private_tmp` it gets a folder for its temporary files, which is removed with it.
    """

    command: Sequence[str]
    folder: Path
    limits: Limits
    private_tmp: bool = False
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Report:
    """What a guard says in the end: `status` is an exit status or, negative, a signal."""

    status: int | None
    breach: str | None
    printed: str


class Child:
    """A started host process. One call at a time; after `ChildLost` only `kill` is of use."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._said = bytearray()
        self._report: Report | None = None
        name = f"freesolo-environment-{uuid.uuid4().hex}"
        self._scratch = None if program.private_tmp else Path(tempfile.gettempdir()) / name
        self._socket, theirs = socket.socketpair()
        self._control, guards = socket.socketpair()
        try:
            with theirs, guards:
                self._guard = _start_guard(guards, theirs)
                order = json.dumps(self._order(theirs.fileno())).encode()
                # A guard that is gone already is found out by whoever asks.
                with suppress(ConnectionError):
                    self._control.sendall(order + b"\n")
        except OSError:
            self._socket.close()
            self._control.close()
            raise

    def ask(
        self,
        method: str,
        arguments: Mapping[str, object],
        *,
        seconds: float,
        start_seconds: float,
    ) -> object:
        """Call `method` and return its value.

        The child may take `start_seconds` to begin and `seconds` from there on. Raise
        `AuthorRaised` if the author's code raised, `ChildLost` if there is no usable answer.
        """
        self.begin(method, arguments, seconds=start_seconds)
        return self.value(self.reply(method, seconds=seconds), method)

    def begin(self, method: str, arguments: Mapping[str, object], *, seconds: float) -> None:
        """Call `method`, and return once it has begun."""
        try:
            self._socket.settimeout(seconds)
            host.send(self._socket, {"method": method, "arguments": arguments})
            self._receive(seconds)
        except TimeoutError:
            raise ChildLost(f"it did not begin `{method}` within {seconds:g} seconds") from None
        except ValueError as error:
            raise ChildLost(f"`{method}` could not be asked: {error}") from None
        except (OSError, EOFError):
            raise ChildLost(f"during `{method}` the process {self._ending()}") from None

    def reply(self, method: str, *, seconds: float) -> object:
        """Return the next message about the call that has begun, which comes within `seconds`."""
        try:
            self._socket.settimeout(seconds)
            # Wait for its beginning first: who gives up in the middle of one cannot read the next.
            self._socket.recv(1, socket.MSG_PEEK)
            return self._receive(max(seconds, _MESSAGE_SECONDS))
        except TimeoutError:
            raise ChildHung(f"`{method}` gave no answer within {seconds:g} seconds") from None
        except (OSError, EOFError):
            raise ChildLost(f"during `{method}` the process {self._ending()}") from None

    def value(self, reply: object, method: str) -> object:
        """Return what a reply says that `method` returned; raise `AuthorRaised` if it raised."""
        match reply:
            # Rows and messages are the task itself; what a reward says of itself is shown and stored.
            case {"value": {"rewards": list() as rewards, **others}}:
                return {**others, "rewards": self._masked_all(rewards)}
            case {"value": value}:
                return value
            case {"raised": str() as summary, "traceback": str() | None as author_frames}:
                shown = self._masked(summary[: host.SUMMARY_CHARS])
                raise AuthorRaised(
                    f"`{method}` raised {shown}",
                    author_frames and self._masked(author_frames[-host.TRACEBACK_CHARS :]),
                )
        raise ChildLost("the process broke the protocol")

    def output(self) -> str:
        """Return the end of what the process has printed, once it was killed, without secrets."""
        return self._masked(self._report.printed) if self._report else ""

    def stop(self) -> None:
        """End the process while another thread waits for it, who finds it lost."""
        self._guard.terminate()

    def close(self) -> None:
        """Let the process end by itself, for a moment, then end it."""
        self._socket.close()
        self._hear_report(_CLOSE_SECONDS)
        self.kill()

    def kill(self) -> None:
        """End the process and all that it started."""
        self._socket.close()
        with suppress(OSError):
            self._control.shutdown(socket.SHUT_WR)
        # Where nothing else keeps them apart, an author's code may have stopped its guard.
        self._guard.send_signal(signal.SIGCONT)
        self._hear_report(_REAP_SECONDS)
        self._control.close()
        try:
            self._guard.wait(_REAP_SECONDS)
        except subprocess.TimeoutExpired:
            for process in _family(self._guard.pid):
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            self._guard.wait()
        if self._report is None and self._scratch is not None:
            guard.remove_left_over(self._scratch)

    def _order(self, connection: int) -> dict[str, object]:
        program = self._program
        return {
            "command": [*program.command, str(connection)],
            "env": clean_environment(program.secrets),
            "folder": str(program.folder),
            "connection": connection,
            "scratch": self._scratch and str(self._scratch),
            **asdict(program.limits),
        }

    def _hear_report(self, seconds: float) -> None:
        """Wait for the guard's report, which says that nothing is left of the process."""
        deadline = time.monotonic() + seconds
        with suppress(OSError, TypeError, ValueError):
            while self._report is None:
                self._control.settimeout(max(deadline - time.monotonic(), 0.001))
                if chunk := self._control.recv(_CHUNK_BYTES):
                    self._said += chunk
                else:
                    self._report = Report(**json.loads(self._said))

    def _receive(self, seconds: float) -> object:
        deadline = time.monotonic() + seconds

        def read(size: int) -> bytes:
            data = bytearray()
            while len(data) < size:
                self._socket.settimeout(max(deadline - time.monotonic(), 0.001))
                chunk = self._socket.recv(min(size - len(data), _CHUNK_BYTES))
                if not chunk:
                    raise EOFError
                data += chunk
            return bytes(data)

        try:
            return host.receive(read)
        except (ValueError, RecursionError):
            raise ChildLost("the process broke the protocol") from None

    def _masked(self, text: str) -> str:
        return mask(text, self._program.secrets.values())

    def _masked_all(self, rewards: list[object]) -> object:
        try:
            return mask_all(rewards, self._program.secrets.values())
        except RecursionError:
            raise ChildLost("the process broke the protocol") from None

    def _ending(self) -> str:
        self._hear_report(_CLOSE_SECONDS)
        if self._report is None:
            return "closed its connection" if self._guard.poll() is None else "killed its guard"
        return ending(self._report, self._program.limits)


def ending(report: Report, limits: Limits) -> str:
    """Say in words how a process ended: it *was killed by signal 11 (segmentation fault)*."""
    match report.breach, report.status:
        case "start", _:
            return "could not be started"
        case "memory", _:
            return f"ran out of memory: it may have {limits.memory // _MIB} MiB"
        case "processes", _:
            return f"started too many processes: it may have {limits.processes}"
        case "disk", _:
            return f"filled its disk: its temporary files may have {limits.disk // _MIB} MiB"
        case "files", _:
            return f"made too many temporary files: it may have {limits.files}"
        case _, int() as status if signal_name := _signal_name(status):
            return f"was killed by signal {signal_name}"
        case _, status:
            return f"ended itself with exit status {status}"


def _signal_name(status: int) -> str | None:
    # Negative, or a shell's way, and bubblewrap's, to say with an exit status that it was a signal.
    number = -status if status < 0 else status - _BY_SIGNAL
    with suppress(ValueError):
        if number > 0 and (name := signal.strsignal(number)):
            return f"{number} ({name.lower()})"
    return None


def _start_guard(guards: socket.socket, theirs: socket.socket) -> subprocess.Popen[bytes]:
    arguments = [str(guards.fileno()), str(os.getpid())]
    return subprocess.Popen(
        # It needs no installed package, and must not be led astray by where we are.
        [sys.executable, "-I", "-S", guard.__file__, *arguments],
        env={},
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=[guards.fileno(), theirs.fileno()],
        start_new_session=True,
    )


def _family(pid: int) -> list[psutil.Process]:
    """Return a process and its descendants, those that are still there."""
    try:
        leader = psutil.Process(pid)
        return [leader, *leader.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []
