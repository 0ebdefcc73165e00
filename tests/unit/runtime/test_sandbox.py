from itertools import pairwise
from pathlib import Path

import psutil

from freesolo.runtime.sandbox import (
    Limits,
    Sandbox,
    bubblewrap_arguments,
    clean_environment,
    machine_limits,
)

FOLDER = Path("/tmp/task")


def pairs(arguments: list[str], option: str) -> list[str]:
    """Return what follows each `option`."""
    return [following for argument, following in pairwise(arguments) if argument == option]


def test_everything_is_unshared_and_only_bounded_memory_is_writable() -> None:
    arguments = bubblewrap_arguments(readable=[FOLDER], folder=FOLDER, network=False, disk=5)

    assert "--unshare-all" in arguments
    assert "--die-with-parent" in arguments
    assert "--share-net" not in arguments
    assert "--bind" not in arguments
    assert pairs(arguments, "--cap-drop") == ["ALL"]
    assert pairs(arguments, "--tmpfs") == ["/tmp", "/dev/shm"]
    assert pairs(arguments, "--size") == ["5", "5"]
    assert pairs(arguments, "--remount-ro") == ["/proc", "/dev", "/"]
    assert pairs(arguments, "--chdir") == [str(FOLDER)]


def test_folders_are_shown_after_tmp_since_they_may_lie_in_it() -> None:
    arguments = bubblewrap_arguments(readable=[FOLDER], folder=FOLDER, network=False, disk=5)

    assert arguments.index("--tmpfs") < arguments.index("--ro-bind")
    assert pairs(arguments, "--ro-bind") == [str(FOLDER)]


def test_of_the_systems_configuration_little_is_shown() -> None:
    shown = pairs(
        bubblewrap_arguments(readable=[], folder=FOLDER, network=False, disk=5), "--ro-bind-try"
    )

    assert "/usr" in shown
    assert not {"/etc", "/etc/ssl", "/etc/shadow", "/home", "/root", "/var"} & set(shown)


def test_the_network_comes_with_its_configuration() -> None:
    arguments = bubblewrap_arguments(readable=[], folder=FOLDER, network=True, disk=5)

    assert "--share-net" in arguments
    assert "/etc/resolv.conf" in pairs(arguments, "--ro-bind-try")


def test_a_command_is_wrapped_only_where_there_is_a_sandbox() -> None:
    command = ["python", "host.py"]

    bare = Sandbox(bubblewrap=None, network=False).command(
        command, readable=[], folder=FOLDER, disk=5
    )
    wrapped = Sandbox(bubblewrap="/usr/bin/bwrap", network=False).command(
        command, readable=[], folder=FOLDER, disk=5
    )

    assert bare == command
    assert wrapped[0] == "/usr/bin/bwrap"
    assert wrapped[-3:] == ["--", *command]


def test_a_secret_cannot_replace_what_the_process_needs() -> None:
    env = clean_environment({"PATH": "/evil", "JUDGE_API_KEY": "x"})

    assert set(env) == {"PATH", "HOME", "TMPDIR", "LANG", "JUDGE_API_KEY"}
    assert "/evil" not in env["PATH"]


def test_the_bounds_of_all_processes_hold_for_each_one() -> None:
    limits = Limits(memory=7, disk=5).of_one_process

    assert (limits["RLIMIT_DATA"], limits["RLIMIT_FSIZE"]) == (7, 5)


def test_an_environment_may_have_half_of_the_machines_memory() -> None:
    assert 0 < machine_limits().memory <= psutil.virtual_memory().total / 2
