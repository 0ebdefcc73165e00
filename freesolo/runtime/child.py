"""One process that runs an environment's code, seen from outside: start, ask, kill."""

import os
import selectors
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import IO

import psutil

from freesolo.runtime import host

_OUTPUT_BYTES = 64 * 1024
_CLOSE_SECONDS = 1.0
_REAP_SECONDS = 5.0
_WATCH_SECONDS = 0.2


class AuthorRaised(Exception):
    """The author's code raised; the text says what, `traceback` holds the author's own frames."""

    def __init__(self, message: str, traceback: str | None) -> None:
        super().__init__(message)
        self.traceback = traceback


class ChildLost(Exception):
    """The process hung, died or broke the protocol; the text says which."""


class Child:
    """A started host process. One call at a time; after `ChildLost` only `kill` is of use."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str], *, folder: str) -> None:
        self._socket, theirs = socket.socketpair()
        self._output = bytearray()
        started: Future[subprocess.Popen[bytes]] = Future()
        with theirs:
            self._keeper = threading.Thread(
                target=self._keep,
                args=([*command, str(theirs.fileno())], dict(env), folder, theirs, started),
                name="environment-host",
                daemon=True,
            )
            self._keeper.start()
            try:
                self._process = started.result()
            except OSError:
                self._socket.close()
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
        try:
            self._begin(method, arguments, start_seconds)
            reply = self._receive(seconds)
        except TimeoutError:
            raise ChildLost(f"`{method}` gave no answer within {seconds:g} seconds") from None
        except (OSError, EOFError):
            raise ChildLost(f"the process ended during `{method}` {self._ending()}") from None
        return _value(reply, method)

    def output(self) -> str:
        """Return the end of what the process has printed."""
        return self._output.decode(errors="replace")

    def close(self) -> None:
        """Let the process end by itself, for a moment, then end it."""
        self._socket.close()
        self._keeper.join(_CLOSE_SECONDS)
        self.kill()

    def kill(self) -> None:
        """End the process and all that it started."""
        for process in _family(self._process.pid):
            with suppress(psutil.NoSuchProcess):
                process.kill()
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._keeper.join(_REAP_SECONDS)
        self._socket.close()

    def _keep(
        self,
        command: list[str],
        env: dict[str, str],
        folder: str,
        theirs: socket.socket,
        started: Future[subprocess.Popen[bytes]],
    ) -> None:
        # Linux kills the process when the *thread* that started it ends, so this one stays with
        # it, and keeps the pipe that the author prints into from filling up.
        try:
            process = subprocess.Popen(
                command,
                env=env,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        except OSError as error:
            started.set_exception(error)
            return
        started.set_result(process)
        with process:
            if process.stdout is not None:
                self._drain(process, process.stdout)

    def _drain(self, process: subprocess.Popen[bytes], pipe: IO[bytes]) -> None:
        """Read what is printed until the process has ended: others may hold its pipe for longer."""
        with selectors.DefaultSelector() as selector:
            selector.register(pipe, selectors.EVENT_READ)
            while True:
                ended = process.poll() is not None
                printed = selector.select(0 if ended else _WATCH_SECONDS)
                chunk = os.read(pipe.fileno(), _OUTPUT_BYTES) if printed else b""
                self._output += chunk
                del self._output[:-_OUTPUT_BYTES]
                if ended or (printed and not chunk):
                    return

    def _begin(self, method: str, arguments: Mapping[str, object], seconds: float) -> None:
        self._socket.settimeout(seconds)
        try:
            host.send(self._socket, {"method": method, "arguments": arguments})
            self._receive(seconds)
        except TimeoutError:
            raise ChildLost(f"it did not begin `{method}` within {seconds:g} seconds") from None

    def _receive(self, seconds: float) -> object:
        deadline = time.monotonic() + seconds

        def read(size: int) -> bytes:
            data = bytearray()
            while len(data) < size:
                self._socket.settimeout(max(deadline - time.monotonic(), 0.001))
                chunk = self._socket.recv(min(size - len(data), 1 << 20))
                if not chunk:
                    raise EOFError
                data += chunk
            return bytes(data)

        try:
            return host.receive(read)
        except (ValueError, RecursionError):
            raise ChildLost("the process broke the protocol") from None

    def _ending(self) -> str:
        try:
            status = self._process.wait(_REAP_SECONDS)
        except subprocess.TimeoutExpired:
            return "without a word"
        return f"with signal {-status}" if status < 0 else f"with exit status {status}"


def _value(reply: object, method: str) -> object:
    match reply:
        case {"value": value}:
            return value
        case {"raised": str() as summary, "traceback": str() | None as author_frames}:
            raise AuthorRaised(f"`{method}` raised {summary}", author_frames)
    raise ChildLost("the process broke the protocol")


def _family(pid: int) -> list[psutil.Process]:
    """Return a process and its descendants, those that are still there."""
    try:
        leader = psutil.Process(pid)
        return [leader, *leader.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []
