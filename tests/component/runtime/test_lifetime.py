import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from freesolo.runtime.client import (
    EnvironmentHost,
    HostOptions,
    SandboxMode,
    Score,
    open_host,
    open_pool,
)
from tests.component.runtime.conftest import OpenHost
from tests.environment_folders import OBEDIENT, write_environment

CALLER = """
import sys
from pathlib import Path
from freesolo.runtime.client import HostOptions, SandboxMode, open_host

folder, cache_dir, sandbox = sys.argv[1:]
with open_host(Path(folder), HostOptions(Path(cache_dir), sandbox=SandboxMode(sandbox))) as host:
    example = host.examples()[0]
    print("ready", flush=True)
    host.score_responses(example, ["spin"])
"""


def test_an_environment_dies_with_a_caller_that_is_killed(
    tmp_path: Path, cache_dir: Path, sandbox: SandboxMode
) -> None:
    folder = write_environment(tmp_path / "environment", OBEDIENT)
    command = [sys.executable, "-c", CALLER, str(folder), str(cache_dir), sandbox]
    env = {"PATH": os.defpath, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=env) as caller:
        assert caller.stdout is not None
        assert caller.stdout.readline() == b"ready\n"
        children = psutil.Process(caller.pid).children(recursive=True)
        caller.kill()

    gone, alive = psutil.wait_procs(children, timeout=20)

    assert gone
    assert not alive


def test_an_environment_outlives_the_thread_that_opened_it(
    tmp_path: Path, cache_dir: Path, sandbox: SandboxMode
) -> None:
    folder = write_environment(tmp_path / "environment", OBEDIENT)
    hosts: list[EnvironmentHost] = []
    opener = threading.Thread(
        target=lambda: hosts.append(open_host(folder, HostOptions(cache_dir, sandbox=sandbox)))
    )
    opener.start()
    opener.join()

    (host,) = hosts
    with host:
        before = psutil.Process().children(recursive=True)
        assert len(host.examples()) == 3
        assert psutil.Process().children(recursive=True) == before


def test_a_closed_host_leaves_no_process(host_of: OpenHost, sandbox: SandboxMode) -> None:
    before = psutil.Process().children(recursive=True)
    host = host_of(OBEDIENT, sandbox=sandbox)

    host.close()

    assert psutil.Process().children(recursive=True) == before


def test_a_daemon_that_holds_the_output_does_not_hold_up_the_host(host_of: OpenHost) -> None:
    host = host_of(OBEDIENT)
    example = host.examples()[0]
    before = time.monotonic()

    host.score_responses(example, ["daemon"])
    host.close()

    assert time.monotonic() - before < 4


def test_rewards_that_hang_in_a_row_leave_nothing_behind(
    host_of: OpenHost, sandbox: SandboxMode
) -> None:
    before = psutil.Process().children(recursive=True)
    host = host_of(OBEDIENT, sandbox=sandbox, call_timeout=0.1)
    example = host.examples()[0]
    descriptors = psutil.Process().num_fds()

    scores = [host.score_responses(example, ["hang"])[0] for _ in range(5)]

    assert [score.reward for score in scores] == [None] * 5
    assert psutil.Process().children(recursive=True) == before
    assert psutil.Process().num_fds() < descriptors


def test_a_closed_host_is_not_started_again(host_of: OpenHost) -> None:
    host = host_of(OBEDIENT)
    host.close()

    with pytest.raises(RuntimeError, match="closed"):
        host.examples()


def test_an_interrupted_call_does_not_answer_the_next_one(host_of: OpenHost) -> None:
    host = host_of(OBEDIENT)
    example = host.examples()[0]
    previous = signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    try:
        with pytest.raises(KeyboardInterrupt):
            host.score_responses(example, ["return time.sleep(1) or 0.25"])
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)

    assert host.score_responses(example, ["answer 0"])[0].reward == 1.0


def at_work(fifo: Path) -> str:
    """Return what makes a reward tell by a pipe that it is at work, and hang."""
    os.mkfifo(fifo)
    return f"return open({str(fifo)!r}, 'w').close() or time.sleep(3600)"


def test_a_host_that_is_closed_ends_the_call_that_is_under_way(
    host_of: OpenHost, tmp_path: Path
) -> None:
    host = host_of(OBEDIENT, call_timeout=3600)
    example = host.examples()[0]
    scores: list[Score] = []
    hang = at_work(tmp_path / "fifo")
    caller = threading.Thread(target=lambda: scores.extend(host.score_responses(example, [hang])))
    caller.start()
    (tmp_path / "fifo").read_bytes()

    host.close()
    caller.join()

    assert [score.reward for score in scores] == [None]


def test_who_interrupts_a_pool_does_not_wait_for_its_rewards(
    tmp_path: Path, cache_dir: Path
) -> None:
    folder = write_environment(tmp_path / "environment", OBEDIENT)
    options = HostOptions(cache_dir, sandbox=SandboxMode.OFF, call_timeout=3600)
    hang = at_work(tmp_path / "fifo")
    main = threading.get_ident()

    def interrupt() -> None:
        (tmp_path / "fifo").read_bytes()
        signal.pthread_kill(main, signal.SIGINT)

    interrupter = threading.Thread(target=interrupt)
    interrupter.start()
    with (
        pytest.raises(KeyboardInterrupt),
        open_pool(folder, options, size=2) as host,
    ):
        host.score_responses(host.examples()[0], ["return time.sleep(3600)", hang])
    interrupter.join()


def test_what_cannot_be_opened_leaves_no_process(tmp_path: Path, cache_dir: Path) -> None:
    folder = write_environment(tmp_path / "environment", OBEDIENT)
    options = HostOptions(cache_dir, sandbox=SandboxMode.OFF)
    before = psutil.Process().children(recursive=True)

    with pytest.raises(TypeError):
        open_host(folder, options, params={"x": object()})

    assert psutil.Process().children(recursive=True) == before


def test_calls_from_several_threads_take_turns(host_of: OpenHost) -> None:
    host = host_of(OBEDIENT)
    example = host.examples()[0]
    scores: list[Score] = []

    def score() -> None:
        scores.extend(host.score_responses(example, ["answer 0"]))

    threads = [threading.Thread(target=score) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [score.reward for score in scores] == [1.0] * 8
