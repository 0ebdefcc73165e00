"""What an author's code may do to its process, its caller and the machine: the fault matrix.

Each fault goes through a real host, with bubblewrap and without. It ends as a named failure within
its deadline, the next call is answered, and no process and no file is left. All are bounded by
themselves, too: a broken limit fails a test, not the machine. Faults of one kind share a host, which
starts its process again after most of them.
"""

import os
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from textwrap import dedent

import psutil
import pytest

from freesolo.errors import EnvironmentFailed
from freesolo.runtime.client import (
    EnvironmentHost,
    HostOptions,
    SandboxMode,
    Score,
    open_host,
    open_pool,
)
from freesolo.runtime.sandbox import Limits
from tests.component.runtime.conftest import OpenHost
from tests.environment_folders import write_environment

MIB = 1024**2
LIMITS = Limits(memory=512 * MIB, disk=48 * MIB, files=500, processes=40)
SHORT = 1.0

# Its reward runs what it is asked to score.
FAULTY = """
import ctypes, json, mmap, os, re, resource, shutil, signal, socket, subprocess, sys
import threading, time
from freesolo.environments import EnvironmentSingleTurn, RewardResult

TOKEN = os.environ["TOKEN"]


class Faulty(EnvironmentSingleTurn):
    max_score_concurrency = 1
    dataset = [{"input": "q", "output": "well"}]

    def build_prompt_messages(self, example, prompt_text):
        return [{"role": "user", "content": example.input}]

    def score_response(self, example, response_text):
        if response_text != example.output:
            exec(response_text, globals())
        return RewardResult(1.0)


def load_environment():
    return Faulty()
"""


# Opens the faulty environment.
Open = Callable[[SandboxMode], EnvironmentHost]


class Faults:
    """Hosts of the faulty environment; all that belongs to them can be found."""

    def __init__(self, place: Path, cache_dir: Path) -> None:
        self.folder = write_environment(place / "environment", FAULTY)
        self.temporary = place / "temporary"
        self.temporary.mkdir()
        self._cache_dir = cache_dir
        self._token = uuid.uuid4().hex
        self._before = psutil.Process().children()
        self._shared: dict[SandboxMode, EnvironmentHost] = {}
        self._hosts = ExitStack()

    def open(
        self, sandbox: SandboxMode, *, size: int = 1, deadline: float = 30.0
    ) -> EnvironmentHost:
        """Open a host, or `size` processes; a call may take `deadline` seconds."""
        options = HostOptions(
            self._cache_dir, sandbox=sandbox, call_timeout=deadline, limits=LIMITS
        )
        secrets = {"TOKEN": self._token}
        if size == 1:
            host = open_host(self.folder, options, secrets=secrets)
        else:
            host = open_pool(self.folder, options, size=size, secrets=secrets)
        return self._hosts.enter_context(host)

    def shared(self, sandbox: SandboxMode) -> EnvironmentHost:
        """Return a host that is opened once."""
        if sandbox not in self._shared:
            self._shared[sandbox] = self.open(sandbox)
        return self._shared[sandbox]

    def guards(self) -> list[psutil.Process]:
        """Return the guards of the processes that still run."""
        return [child for child in psutil.Process().children() if child not in self._before]

    def close(self) -> None:
        """Close all hosts."""
        self._hosts.close()

    def strays(self) -> list[object]:
        """Return processes without a guard, and files, of which there is one folder a guard at most."""
        guards = self.guards()
        guarded = {*guards, *(one for guard in guards for one in guard.children(recursive=True))}
        files = sorted(self.temporary.iterdir())
        return [*set(marked_with(self._token)).difference(guarded), *files[len(guards) :]]


@pytest.fixture(scope="module")
def faults_of_all(tmp_path_factory: pytest.TempPathFactory, cache_dir: Path) -> Iterator[Faults]:
    """Hosts for all tests of this module; in the end nothing is left of them."""
    faults = Faults(tmp_path_factory.mktemp("faults"), cache_dir)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(faults.temporary))
        yield faults
        faults.close()
    assert (faults.guards(), faults.strays()) == ([], [])


@pytest.fixture
def open_shared(faults_of_all: Faults) -> Iterator[Open]:
    """Open the host that tests share; afterwards see that nothing of the fault is left beside it."""
    yield faults_of_all.shared
    assert faults_of_all.strays() == []


@pytest.fixture
def faults(tmp_path: Path, cache_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Faults]:
    """Open hosts for one test; afterwards see that nothing is left of them."""
    own = Faults(tmp_path, cache_dir)
    monkeypatch.setattr(tempfile, "tempdir", str(own.temporary))
    yield own
    own.close()
    assert (own.guards(), own.strays()) == ([], [])


@pytest.fixture
def open_faulty(faults: Faults) -> Open:
    """Open a host of its own."""
    return faults.open


def marked_with(token: str) -> list[psutil.Process]:
    """Return all processes of the machine that have `token` in their command or environment."""
    return [
        process
        for process in psutil.process_iter()
        for file in (Path(f"/proc/{process.pid}/cmdline"), Path(f"/proc/{process.pid}/environ"))
        if token in read(file)
    ]


def read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def score(host: EnvironmentHost, code: str) -> Score:
    (result,) = host.score_responses(host.examples()[0], [dedent(code)])
    return result


NO_ANSWER = "gave no answer within 1 seconds"
KEEP_STILL = "\ntime.sleep(30)"

HANGS = {
    "sleeps": "time.sleep(30)",
    "spins": "while True: pass",
    "is deep in C": "re.match('(a+)+$', 'a' * 60 + 'b')",
    "blocks every signal": "signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))" + KEEP_STILL,
    "ignores every signal it may": """
        for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD}:
            signal.signal(number, signal.SIG_IGN)
        time.sleep(30)
    """,
    "stops itself": "os.kill(os.getpid(), signal.SIGSTOP)",
    "stops its parent": "os.kill(os.getppid(), signal.SIGSTOP)" + KEEP_STILL,
    "waits for a child that never ends": "subprocess.run(['sleep', '30'])",
}

ENDINGS = {
    "sys.exit(3)": "raised SystemExit: 3",
    "os._exit(0)": "ended itself with exit status 0",
    "os._exit(3)": "ended itself with exit status 3",
    "os.abort()": r"was killed by signal 6 \(aborted\)",
    "ctypes.string_at(0)": r"was killed by signal 11 \(segmentation fault\)",
    "os.kill(os.getpid(), signal.SIGKILL)": r"was killed by signal 9 \(killed\)",
    "threading.Thread(target=os._exit, args=(4,)).start(); time.sleep(30)": "exit status 4",
    "raise ValueError('no such thing')": "raised ValueError: no such thing",
    "raise KeyboardInterrupt": "raised KeyboardInterrupt",
    "(lambda f: f(f))(lambda f: f(f))": "raised RecursionError",
    "json.dumps = None": "ended itself with exit status 1",
    "os.closerange(3, 256); time.sleep(30)": "closed its connection",
    "[os.write(n, b'junk' * 9) for n in range(3, 64) if os.path.exists(f'/proc/self/fd/{n}')]": (
        "broke the protocol"
    ),
}

# What takes the memory is bounded by itself as well, to 1.5 GiB.
MEMORY = {
    "at once": ("bytearray(100 * 1024**3)", "MemoryError"),
    "in small steps": ("kept = [bytearray(1024**2) for _ in range(1500)]", "MemoryError"),
    "in several processes": (
        """
        for _ in range(8):
            if os.fork() == 0:
                kept = b"x" * (180 * 1024**2)
                time.sleep(30)
        time.sleep(30)
        """,
        "ran out of memory: it may have 512 MiB",
    ),
    "as shared memory": (
        """
        kept = mmap.mmap(-1, 1536 * 1024**2)
        for _ in range(1500):
            kept.write(b"x" * 1024**2)
        time.sleep(30)
        """,
        "ran out of memory: it may have 512 MiB",
    ),
}

FORK_BOMB = "for _ in range(9): os.fork()" + KEEP_STILL  # 512 processes
THREADS = """
for _ in range(2000):
    threading.Thread(target=time.sleep, args=(30,), daemon=True).start()
"""

HARMLESS = {
    "prints a gigabyte": "for _ in range(1024): os.write(1, b'x' * 1024**2)",
    "prints to both": "for _ in range(9999): print('x' * 99); print('y' * 99, file=sys.stderr)",
    "replaces sys.stdout": "sys.stdout = sys.stderr = None",
    "closes its output": "os.close(1); os.close(2)",
    "leaves a thread": "threading.Thread(target=time.sleep, args=(30,)).start()",
    "leaves a process": "subprocess.Popen(['sleep', '30'])",
    "changes its limits": "resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))",
}

DAEMON = """
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.closerange(0, 256)
        # Without a trace of us: no environment, no session, no parent.
        os.execve("/bin/sh", ["sh", "-c", f"sleep 30; : {TOKEN}"], {})
    os._exit(0)
os.wait()
"""


def test_rewards_that_hang_end_at_their_deadline(faults: Faults, sandbox: SandboxMode) -> None:
    host = faults.open(sandbox, size=len(HANGS), deadline=SHORT)
    example = host.examples()[0]

    hung = host.score_responses(example, [dedent(code) for code in HANGS.values()])

    told = {name: str(lost.error) for name, lost in zip(HANGS, hung, strict=True)}
    assert {name: said for name, said in told.items() if NO_ANSWER not in said} == {}
    assert faults.guards() == []
    assert faults.strays() == []
    assert score(host, "well").reward == 1.0


@pytest.mark.parametrize(("code", "said"), ENDINGS.items(), ids=ENDINGS.keys())
def test_how_a_reward_ended_is_told(
    open_shared: Open,
    sandbox: SandboxMode,
    code: str,
    said: str,
) -> None:
    host = open_shared(sandbox)

    with pytest.raises(EnvironmentFailed, match=said):
        raise score(host, code).error or AssertionError


@pytest.mark.parametrize(("code", "said"), MEMORY.values(), ids=MEMORY.keys())
def test_memory_is_bounded_however_it_is_taken(
    open_shared: Open,
    sandbox: SandboxMode,
    code: str,
    said: str,
) -> None:
    host = open_shared(sandbox)

    assert said in str(score(host, code).error)
    assert score(host, "well").reward == 1.0


def test_a_fork_bomb_is_ended(open_shared: Open, sandbox: SandboxMode) -> None:
    host = open_shared(sandbox)

    assert "started too many processes: it may have 40" in str(score(host, FORK_BOMB).error)
    assert score(host, "well").reward == 1.0


@pytest.mark.parametrize("code", HARMLESS.values(), ids=HARMLESS.keys())
def test_a_reward_may_do_what_harms_nobody(
    open_shared: Open, sandbox: SandboxMode, code: str
) -> None:
    host = open_shared(sandbox)

    assert [score(host, code).reward, score(host, "well").reward] == [1.0, 1.0]

    # The next test gets a process that this one has not changed.
    score(host, "os._exit(0)")


@pytest.mark.parametrize("end", ["", "os._exit(3)", "time.sleep(30)"])
def test_a_daemon_does_not_get_away(faults: Faults, sandbox: SandboxMode, end: str) -> None:
    host = faults.open(sandbox, deadline=SHORT)

    score(host, DAEMON + end)

    assert score(host, "well").reward == 1.0


def test_a_process_that_kills_its_parent_is_lost_with_it(
    open_shared: Open, sandbox: SandboxMode
) -> None:
    host = open_shared(sandbox)

    lost = score(host, "os.kill(os.getppid(), signal.SIGKILL); time.sleep(1)")

    # Inside bubblewrap nobody can.
    said = {SandboxMode.OFF: "killed its guard", SandboxMode.REQUIRED: "None"}
    assert said[sandbox] in str(lost.error)
    assert score(host, "well").reward == 1.0


FILL = """
for n in range(6):
    with open(f"{os.environ['TMPDIR']}/{n}", "wb") as file:
        file.write(bytes(10 * 1024**2))
time.sleep(30)
"""
MANY_FILES = """
for n in range(2000):
    os.makedirs(f"{os.environ['TMPDIR']}/{n % 7}", exist_ok=True)
    open(f"{os.environ['TMPDIR']}/{n % 7}/{n}", "wb").close()
time.sleep(30)
"""
CLOSED_FOLDERS = """
os.makedirs(f"{os.environ['TMPDIR']}/closed/inner")
os.symlink("/usr", f"{os.environ['TMPDIR']}/link")
os.chmod(f"{os.environ['TMPDIR']}/closed", 0)
"""


def test_temporary_files_are_bounded(open_faulty: Open, sandbox: SandboxMode) -> None:
    host = open_faulty(sandbox)
    said = {
        SandboxMode.OFF: "filled its disk: its temporary files may have 48 MiB",
        SandboxMode.REQUIRED: "No space left on device",
    }

    assert said[sandbox] in str(score(host, FILL).error)


def test_one_file_is_bounded(open_faulty: Open) -> None:
    host = open_faulty(SandboxMode.OFF)

    too_large = score(host, "open(os.environ['TMPDIR'] + '/x', 'wb').write(bytes(60 * 1024**2))")

    assert "File too large" in str(too_large.error)


def test_the_number_of_temporary_files_is_bounded(open_shared: Open) -> None:
    host = open_shared(SandboxMode.OFF)

    assert "made too many temporary files: it may have 500" in str(score(host, MANY_FILES).error)
    assert score(host, "well").reward == 1.0


def test_shared_memory_files_are_bounded(open_faulty: Open, has_bubblewrap: bool) -> None:
    if not has_bubblewrap:
        pytest.skip("bubblewrap does not work here")
    host = open_faulty(SandboxMode.REQUIRED)

    filled = score(host, FILL.replace("{os.environ['TMPDIR']}", "/dev/shm"))

    assert "No space left on device" in str(filled.error)


def test_folders_that_the_author_closed_are_removed_and_links_not_followed(
    open_faulty: Open, sandbox: SandboxMode
) -> None:
    assert score(open_faulty(sandbox), CLOSED_FOLDERS).reward == 1.0


def test_a_process_that_starts_again_finds_no_file_of_the_one_before(
    open_shared: Open, sandbox: SandboxMode
) -> None:
    host = open_shared(sandbox)

    score(host, "open(os.environ['TMPDIR'] + '/x', 'w'); os._exit(3)")

    assert score(host, "assert 'x' not in os.listdir(os.environ['TMPDIR'])").reward == 1.0


def test_an_environment_that_removes_itself_fails_by_name(open_faulty: Open) -> None:
    host = open_faulty(SandboxMode.OFF)

    score(host, "shutil.rmtree(os.getcwd()); os._exit(3)")

    with pytest.raises(EnvironmentFailed, match="could not be started"):
        raise score(host, "well").error or AssertionError


def test_a_process_that_raises_its_limits_gains_nothing(
    open_faulty: Open, sandbox: SandboxMode
) -> None:
    host = open_faulty(sandbox)
    code = "resource.setrlimit(resource.RLIMIT_DATA, (1 << 40, 1 << 40)); kept = b'x' * 2**30"

    with pytest.raises(EnvironmentFailed, match=r"not allowed to raise|ran out of memory"):
        raise score(host, f"{code}; time.sleep(30)").error or AssertionError


def test_a_huge_answer_is_not_taken(open_faulty: Open, sandbox: SandboxMode) -> None:
    host = open_faulty(sandbox)
    patch = "RewardResult = lambda score, make=RewardResult: make(score, metadata={'x': 'y' * %d})"

    large, larger = (score(host, patch % size) for size in (100 * MIB, 1000 * MIB))

    assert (large.reward, large.metadata) == (1.0, {})
    assert "MemoryError" in str(larger.error)


@pytest.mark.parametrize(
    "reach",
    [
        "socket.create_connection(('192.0.2.1', 80), 5)",
        "socket.create_connection(('127.0.0.1', 22), 5)",
        "socket.getaddrinfo('example.org', 80)",
        "open('/proc/{caller}/environ')",
        "open('{private}')",
        "open('/proc/sys/kernel/core_pattern', 'w')",
        "open('/proc/sysrq-trigger', 'w')",
        "os.mkdir('/sys/x')",
        "ctypes.CDLL(None, use_errno=True).mount(b'none', b'/tmp', b'tmpfs', 0, None) and 1 / 0",
        "assert ctypes.CDLL(None).ptrace(16, {caller}, 0, 0) == 0",
    ],
)
def test_inside_bubblewrap_an_author_reaches_nothing_of_ours(
    open_shared: Open, has_bubblewrap: bool, tmp_path: Path, reach: str
) -> None:
    if not has_bubblewrap:
        pytest.skip("bubblewrap does not work here")
    private = tmp_path / "credentials.json"
    private.touch()
    host = open_shared(SandboxMode.REQUIRED)

    assert score(host, reach.format(caller=os.getpid(), private=private)).error is not None


def test_inside_bubblewrap_killing_everybody_kills_nobody_else(
    open_shared: Open, has_bubblewrap: bool
) -> None:
    if not has_bubblewrap:
        pytest.skip("bubblewrap does not work here")
    host = open_shared(SandboxMode.REQUIRED)

    code = "subprocess.Popen(['sleep', '30']); os.kill(-1, signal.SIGKILL)"
    assert score(host, code).reward == 1.0


def test_an_import_that_never_ends_is_ended(host_of: OpenHost, sandbox: SandboxMode) -> None:
    before = psutil.Process().children(recursive=True)

    with pytest.raises(EnvironmentFailed, match="`load` gave no answer within 1 seconds"):
        host_of("import time\ntime.sleep(30)\n", sandbox=sandbox, load_timeout=SHORT)

    assert psutil.Process().children(recursive=True) == before


CALLER = """
import sys
from pathlib import Path
from freesolo.runtime.client import HostOptions, SandboxMode, open_host

folder, cache_dir, sandbox, token, daemon = sys.argv[1:]
options = HostOptions(Path(cache_dir), sandbox=SandboxMode(sandbox))
with open_host(Path(folder), options, secrets={"TOKEN": token}) as host:
    example = host.examples()[0]
    assert host.score_responses(example, [daemon])[0].reward == 1.0
    print("ready", flush=True)
    host.score_responses(example, ["time.sleep(60)"])
"""


def test_a_caller_that_is_killed_leaves_no_process_and_no_file(
    tmp_path: Path, cache_dir: Path, sandbox: SandboxMode
) -> None:
    token = uuid.uuid4().hex
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    folder = write_environment(tmp_path / "environment", FAULTY)
    arguments = [str(folder), str(cache_dir), sandbox, token, DAEMON]
    env = {"PATH": os.defpath, "TMPDIR": str(temporary)}
    command = [sys.executable, "-c", CALLER, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=env) as caller:
        assert caller.stdout is not None
        assert caller.stdout.readline() == b"ready\n"
        guards = psutil.Process(caller.pid).children()
        caller.kill()

    _, alive = psutil.wait_procs(guards, timeout=20)

    assert alive == []
    assert marked_with(token) == []
    assert list(temporary.iterdir()) == []


def test_a_guard_that_is_told_to_end_takes_all_with_it(
    open_faulty: Open, sandbox: SandboxMode
) -> None:
    before = psutil.Process().children()
    host = open_faulty(sandbox)
    score(host, DAEMON)
    (guard,) = set(psutil.Process().children()) - set(before)
    family = guard.children(recursive=True)

    guard.terminate()

    assert len(family) > 1
    assert psutil.wait_procs(family, timeout=20)[1] == []
    assert score(host, "well").reward is None
    assert score(host, "well").reward == 1.0
