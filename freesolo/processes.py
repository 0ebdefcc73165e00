"""Child processes that never outlive us unnoticed.

A child starts in a session of its own and is recorded in a small file: process id, start time and
boot. Whoever comes later (the same platform after a `kill -9`, or `freesolo down`) finds in that
file the whole session, grandchildren included, and can end it. A record that belongs to another
boot, or whose process id was given to somebody else since, ends nothing.
"""

import json
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_WAIT_THEN_BECOME = 'read -r _ && exec "$@" < /dev/null'


@dataclass(frozen=True)
class Record:
    """Which session a child leads: `session` is its process id, `started` its start time.

    The start time is counted from the boot where the system can tell, so that setting the clock
    changes nothing; `boot` is the id of that boot, empty where there is none.
    """

    session: int
    started: float
    boot: str


def start(
    command: Sequence[str], *, env: Mapping[str, str], log: Path, record: Path
) -> subprocess.Popen[bytes]:
    """Start `command` as leader of a new session, its output appended to `log`, and record it.

    The child waits for its record before it becomes `command`: one whose parent is killed in
    between ends by itself.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        child = subprocess.Popen(
            ["/bin/sh", "-c", _WAIT_THEN_BECOME, "sh", *command],
            env=dict(env),
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    write_record(record, child.pid)
    assert child.stdin is not None  # noqa: S101 - PIPE was asked for
    # Ended already by somebody else, perhaps: then nobody waits for the line.
    with suppress(BrokenPipeError), child.stdin:
        child.stdin.write(b"go\n")
    return child


def start_beside(
    command: Sequence[str], *, env: Mapping[str, str], log: Path
) -> "subprocess.Popen[bytes]":
    """Start `command` in our own session, its output appended to `log`.

    Whoever ends our session ends it too, also after we were killed.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        return subprocess.Popen(
            command,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )


def stop_tree(child: "subprocess.Popen[bytes]", *, grace: float) -> None:
    """End a child with its descendants: ask it, wait `grace` seconds, then end all that is left."""
    try:
        family = psutil.Process(child.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        family = []
    child.terminate()
    try:
        child.wait(grace)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
    for survivor in family:
        _signal(survivor, signal.SIGKILL)
    psutil.wait_procs(family, timeout=grace)


def write_record(path: Path, pid: int) -> None:
    """Record the session that process `pid` leads."""
    path.parent.mkdir(parents=True, exist_ok=True)
    entry = Record(pid, _started(pid), _boot_id())
    # In one step: whoever is killed here leaves the old record or the new one, never half of one.
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_text(json.dumps(asdict(entry)))
    temporary.replace(path)


def read_record(path: Path) -> Record | None:
    """Return what `path` records, or None if it is missing or half-written."""
    try:
        return Record(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return None


def is_running(path: Path) -> bool:
    """Say whether anything of the recorded session still runs."""
    record = read_record(path)
    return record is not None and bool(_members(record))


def stop_recorded(path: Path, *, grace: float) -> None:
    """End the recorded session: ask its leader, wait `grace` seconds, then end all that is left.

    Returns when every process of the session is gone; the record goes with them.
    """
    record = read_record(path)
    if record is not None:
        members = _members(record)
        for leader in members:
            if leader.pid == record.session:
                _signal(leader, signal.SIGTERM)
                psutil.wait_procs([leader], timeout=grace)
        while members := _members(record):
            for process in members:
                _signal(process, signal.SIGKILL)
            psutil.wait_procs(members, timeout=1)
    path.unlink(missing_ok=True)


def find_process(path: Path) -> psutil.Process | None:
    """Return the recorded process itself if it still runs, whoever's session it is in."""
    record = read_record(path)
    if record is None or record.boot != _boot_id():
        return None
    try:
        process = psutil.Process(record.session)
        is_same = _leads(process, record)
    except psutil.NoSuchProcess:
        return None
    return process if is_same and process.status() != psutil.STATUS_ZOMBIE else None


def stop_process(path: Path, *, grace: float) -> bool:
    """End only the recorded process, not its session; say whether it was running."""
    process = find_process(path)
    if process is None:
        return False
    _signal(process, signal.SIGTERM)
    _, alive = psutil.wait_procs([process], timeout=grace)
    for survivor in alive:
        _signal(survivor, signal.SIGKILL)
    psutil.wait_procs(alive)
    return True


def _boot_id() -> str:
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""


def _started(pid: int) -> float:
    # On Linux psutil adds the boot's time of day, which moves when the clock is set; and it keeps
    # the sum in its objects, so a new one is asked.
    return psutil.Process(pid).create_time() - (psutil.boot_time() if _BOOT_ID.exists() else 0)


def _leads(process: psutil.Process, record: Record) -> bool:
    return abs(_started(process.pid) - record.started) < 1


def _members(record: Record) -> list[psutil.Process]:
    if record.boot != _boot_id():
        return []
    members = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) != record.session or process.status() == psutil.STATUS_ZOMBIE:
                continue
            if process.pid == record.session and not _leads(process, record):
                return []
        except (psutil.Error, OSError):
            continue
        members.append(process)
    return members


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except psutil.Error:
        # Gone between the look and the signal: what was wanted.
        return
