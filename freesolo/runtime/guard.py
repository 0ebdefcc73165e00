"""The process between us and an environment's: starts it, watches it, and ends all that it started.

Started by path, with the number of a socket and the process id of its parent as arguments. It needs
only the standard library and never runs an author's code. One line of JSON comes over the socket, the
order (see `Guard`). The environment is ended when the other side closes, when the parent is gone, and
when it exceeds a bound. Once nothing of it is left, one report goes back::

    {"status": 3, "breach": null, "printed": "the end of what was printed"}

Whoever loses its parent falls to the guard, so that a daemon cannot slip away. It runs with root's
rights where its caller does, so it kills only its own descendants, and removes only what is in a folder
that it made itself, whatever an order says (ADR 0017).
"""

import ctypes
import fcntl
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

_PRINTED_BYTES = 64 * 1024
_LOOK_SECONDS = 0.1
# Looking may take this part of a core, so it gets rarer where there is much to look at.
_LOOK_SHARE = 0.1
_FIRST_KILL_SECONDS = 0.001
_KILL_SECONDS = 0.1
# Between two reads of what is printed: who prints without end must not keep us at work.
_READ_SECONDS = 0.001
_PIPE_BYTES = 1024 * 1024
_BLOCK_BYTES = 512
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_PR_SET_CHILD_SUBREAPER = 36


class Guard:
    """One environment's process and its descendants.

    The order has `command`, `env` and `folder`; `connection`, the number of the socket that the
    process gets; `scratch`, the folder to make for its temporary files, null if it has its own place;
    and the bounds `memory` and `disk`, in bytes, `files` and `processes`.
    """

    def __init__(self, order: dict[str, Any]) -> None:
        self._order = order
        self._printed = bytearray()
        self._status: int | None = None
        self._signals = _hear_signals()
        self._scratch: Scratch | None = None

    def run(self, control: socket.socket, parent: int) -> dict[str, object]:
        """Start the process, wait for a reason to end it, leave nothing behind; return the report."""
        breach: str | None = None
        try:
            self._start()
        except OSError as error:
            self._printed += str(error).encode(errors="replace")
            breach = "start"
        else:
            breach = self._wait(control, parent)
            self._end()
        if self._scratch is not None:
            self._scratch.remove()
        printed = self._printed.decode(errors="replace")
        return {"status": self._status, "breach": breach, "printed": printed}

    def _start(self) -> None:
        private: dict[str, str] = {}
        if (folder := self._order["scratch"]) is not None:
            self._scratch = Scratch(Path(folder))
            private = {"HOME": folder, "TMPDIR": folder}
        connection: int = self._order["connection"]
        process = subprocess.Popen(
            self._order["command"],
            env=self._order["env"] | private,
            cwd=self._order["folder"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=[connection],
            start_new_session=True,
            preexec_fn=_offer_to_die,
        )
        # Only the process holds it now: our parent hears when that is gone.
        os.close(connection)
        assert process.stdout is not None  # noqa: S101 - PIPE was asked for
        self._process, self._pipe = process, process.stdout.fileno()
        os.set_blocking(self._pipe, False)
        with suppress(OSError, AttributeError):
            fcntl.fcntl(self._pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)

    def _wait(self, control: socket.socket, parent: int) -> str | None:
        """Return which bound was exceeded; None if the process ended or nobody wants it any more."""
        look = 0.0
        with selectors.DefaultSelector() as selector:
            for source in (control, self._signals, self._pipe):
                selector.register(source, selectors.EVENT_READ)
            while True:
                ready = {key.fileobj for key, _ in selector.select(max(0, look - time.monotonic()))}
                if self._pipe in ready:
                    if not self._read():
                        selector.unregister(self._pipe)
                    time.sleep(_READ_SECONDS)
                if control in ready or os.getppid() != parent or self._is_over():
                    return None
                started = time.monotonic()
                if started >= look:
                    if breach := self._breach():
                        return breach
                    spent = time.monotonic() - started
                    look = started + max(_LOOK_SECONDS, spent / _LOOK_SHARE)

    def _read(self) -> bool:
        """Keep the end of what was printed; say whether more may come."""
        chunk = os.read(self._pipe, _PIPE_BYTES)
        self._printed += chunk[-_PRINTED_BYTES:]
        del self._printed[:-_PRINTED_BYTES]
        return bool(chunk)

    def _is_over(self) -> bool:
        """Say whether the process has ended, or somebody told us to end it."""
        with suppress(BlockingIOError):
            if set(self._signals.recv(4096)) - {signal.SIGCHLD}:
                return True
            self._reap()
        return self._status is not None

    def _reap(self) -> bool:
        """Take note of those that ended; say whether any are left."""
        with suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return True
                if pid == self._process.pid:
                    self._status = os.waitstatus_to_exitcode(status)
        return False

    def _breach(self) -> str | None:
        family = list(_descendants(os.getpid()))
        if len(family) > self._order["processes"]:
            return "processes"
        # What processes share is counted for each of them: only then is the dear look worth it.
        bound = self._order["memory"]
        if sum(map(_resident, family)) > bound and sum(map(_proportional, family)) > bound:
            return "memory"
        if self._scratch is None:
            return None
        return _overflow(self._scratch.path, size=self._order["disk"], files=self._order["files"])

    def _end(self) -> None:
        """Kill until nobody is left: some fork meanwhile, some are stopped or ignore signals."""
        if not Path(f"/proc/self/task/{os.getpid()}/children").exists():
            # Who the descendants are cannot be told here; the group has to do.
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
        pause = _FIRST_KILL_SECONDS
        while self._reap():
            _kill_descendants()
            time.sleep(pause)
            # Some cannot be killed, or not yet: those of another user, or in the middle of a read.
            pause = min(2 * pause, _KILL_SECONDS)
        with suppress(BlockingIOError):
            while self._read():
                pass


class Scratch:
    """A folder for temporary files, made by us and known by its descriptor.

    So nothing but what is in it is ever removed, whatever lies at its path by then. Raise
    `FileExistsError` if something lies there already: that is neither ours to use nor to remove.
    """

    def __init__(self, path: Path) -> None:
        path.mkdir(mode=0o700)
        self.path = path
        self._descriptor = os.open(path, _FOLDER)

    def remove(self) -> None:
        """Remove the folder and all in it, also what its author closed to its owner."""
        with suppress(OSError):
            _clear(self._descriptor)
            # Should another lie there now, it goes only if it is empty.
            self.path.rmdir()
        os.close(self._descriptor)


def main() -> None:
    """Take the order from the socket given as the first argument, and answer with the report."""
    control = socket.socket(fileno=int(sys.argv[1]))
    control.set_inheritable(False)
    # Whoever ordered may be gone before the order is complete, or before the report.
    with suppress(ConnectionError), control, control.makefile("rb") as stream:
        if line := stream.readline():
            _adopt_orphans()
            report = Guard(json.loads(line)).run(control, int(sys.argv[2]))
            control.sendall(json.dumps(report).encode())


def remove_left_over(path: Path) -> None:
    """Remove the folder of a guard that was killed: never a link in its place, nor a mount."""
    with suppress(OSError), _opened(path.parent.resolve()) as parent:
        name = _set_apart(path.name, parent, into=parent)
        with _opened(name, within=parent) as folder:
            _clear(folder)
        os.rmdir(name, dir_fd=parent)


def _clear(folder: int) -> None:
    """Remove all in a folder, given as a descriptor.

    The folders in it are moved up before they are looked into, so that none is too deep. What cannot
    be moved is left: a mount is another file system's, and may hold somebody's data.
    """
    os.fchmod(folder, 0o700)
    waiting = _clear_of_files(folder, folder)
    while waiting:
        name = waiting.pop()
        with suppress(OSError), _opened(name, within=folder) as inner:
            waiting += _clear_of_files(inner, folder)
            os.rmdir(name, dir_fd=folder)


def _clear_of_files(folder: int, top: int) -> list[str]:
    """Remove the files of a folder, move the folders in it to `top`, and return their names there."""
    with os.scandir(folder) as entries:
        found = list(entries)
    moved: list[str] = []
    for entry in found:
        with suppress(OSError):
            if entry.is_dir(follow_symlinks=False):
                moved.append(_set_apart(entry.name, folder, into=top))
            else:
                os.unlink(entry.name, dir_fd=folder)
    return moved


def _set_apart(name: str, folder: int, *, into: int) -> str:
    """Move a folder of `folder` into another, under a new name; raise `OSError` for a mount."""
    fresh = uuid.uuid4().hex
    os.rename(name, fresh, src_dir_fd=folder, dst_dir_fd=folder)
    # Its author may have closed it, and moving it elsewhere changes what is in it.
    os.chmod(fresh, 0o700, dir_fd=folder)
    os.rename(fresh, fresh, src_dir_fd=folder, dst_dir_fd=into)
    return fresh


@contextmanager
def _opened(path: Path | str, *, within: int | None = None) -> Iterator[int]:
    descriptor = os.open(path, _FOLDER, dir_fd=within)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _hear_signals() -> socket.socket:
    """Return what becomes readable when a child ends, or somebody asks us to end."""
    heard, write = socket.socketpair()
    for end in (heard, write):
        end.setblocking(False)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    signal.set_wakeup_fd(write.detach(), warn_on_full_buffer=False)
    return heard


def _adopt_orphans() -> None:
    """Become the parent of descendants that lose theirs, and never wait for a processor.

    No limit of processes binds root: its fork bomb would keep us from running.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
        with suppress(OSError):
            first = os.SCHED_RR | os.SCHED_RESET_ON_FORK
            os.sched_setscheduler(0, first, os.sched_param(1))


def _offer_to_die() -> None:
    """Have Linux kill this process before any other when the machine is out of memory."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def _kill_descendants() -> None:
    """Stop all descendants, from the eldest on, then kill them from the youngest on.

    Who is stopped neither starts others nor waits for its children, so their numbers stay theirs.
    """
    family: list[tuple[int, int]] = []
    waiting = [os.getpid()]
    while waiting:
        parent = waiting.pop()
        for pid in list(_children(parent)):
            if signal_child(pid, parent, signal.SIGSTOP):
                family.append((pid, parent))
                waiting.append(pid)
    for pid, parent in reversed(family):
        signal_child(pid, parent, signal.SIGKILL)


def signal_child(pid: int, parent: int, number: signal.Signals) -> bool:
    """Send a signal to a child of `parent`, never to another who has its number by now.

    Say whether it was sent.
    """
    try:
        if parent == os.getpid():
            # A child of ours keeps its number until we wait for it.
            os.kill(pid, number)
            return True
        handle = os.pidfd_open(pid)
        try:
            if _parent(pid) != parent:
                return False
            signal.pidfd_send_signal(handle, number)
        finally:
            os.close(handle)
    except OSError:
        return False
    return True


def _descendants(pid: int) -> Iterator[int]:
    """Yield children, then theirs; those whose parent ends meanwhile may be missed."""
    waiting = [pid]
    while waiting:
        children = list(_children(waiting.pop()))
        yield from children
        waiting += children


def _children(pid: int) -> Iterator[int]:
    with suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            yield from map(int, _read_text(thread / "children").split())


def _parent(pid: int) -> int | None:
    # The name before it, in brackets, may hold anything.
    fields = _read_text(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()
    return int(fields[1]) if fields else None


def _resident(pid: int) -> int:
    """Return how many bytes of memory a process holds, with all that it shares."""
    fields = _read_text(Path(f"/proc/{pid}/statm")).split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") if fields else 0


def _proportional(pid: int) -> int:
    """Return how many bytes of memory a process holds, with its part of what it shares."""
    for line in _read_text(Path(f"/proc/{pid}/smaps_rollup")).splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return _resident(pid)


def _read_text(path: Path) -> str:
    """Return what a file of /proc says, nothing if its process is gone."""
    try:
        return path.read_text()
    except OSError:
        return ""


def _overflow(folder: Path, *, size: int, files: int) -> str | None:
    """Say which bound a folder exceeds, None if it does not; look no further than that."""
    for entry in _entries(folder):
        files -= 1
        with suppress(FileNotFoundError):
            size -= entry.stat(follow_symlinks=False).st_blocks * _BLOCK_BYTES
        if files < 0:
            return "files"
        if size < 0:
            return "disk"
    return None


def _entries(folder: Path) -> Iterator["os.DirEntry[str]"]:
    waiting = [str(folder)]
    while waiting:
        with suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                yield entry
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)


if __name__ == "__main__":
    main()
