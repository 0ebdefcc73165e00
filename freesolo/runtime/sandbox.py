"""What an environment's process may see, do and use.

Always: a session of its own under a guard, an environment with nothing in it but what is handed over,
resource limits. With bubblewrap, on Linux, also: a read-only system of which it sees only the parts
that programs need, a private `/tmp`, no other process, no capability, and no network unless the
manifest asks for it.
"""

import functools
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from freesolo.errors import Unavailable

_GIB = 1024**3

# Of control groups, the second version and the first: in a container they are its own.
_MEMORY_BOUNDS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)

_BASE_LAYERS = ("own-session", "clean-environment", "resource-limits")
_BUBBLEWRAP_LAYERS = ("read-only-system", "private-tmp", "own-processes", "no-capabilities")

# Of /etc only what libraries look up: never passwords, keys or the configuration of services.
_SYSTEM_PATHS = (
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/etc/alternatives",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/etc/passwd",
    "/etc/group",
)
_NETWORK_PATHS = (
    "/etc/ca-certificates",
    "/etc/hosts",
    "/etc/nsswitch.conf",
    "/etc/pki",
    "/etc/resolv.conf",
    "/etc/ssl",
)
# Kept in memory, each bounded. Semaphores of `multiprocessing` need /dev/shm.
_WRITABLE_PATHS = ("/tmp", "/dev/shm")  # noqa: S108
_NOBODY = "65534"
_PROBE_SECONDS = 10


class SandboxMode(StrEnum):
    """Whether bubblewrap is used when it works (`auto`), must work, or is left out."""

    AUTO = "auto"
    REQUIRED = "required"
    OFF = "off"


@dataclass(frozen=True)
class Limits:
    """What one environment may use, all its processes together; generous, since they do not ration.

    `memory` and `disk`, that of its temporary files, are in bytes. `files` bounds how many of these
    there are; bubblewrap leaves that to the deadline.
    """

    memory: int
    disk: int = _GIB
    files: int = 100_000
    processes: int = 512

    @property
    def of_one_process(self) -> dict[str, int]:
        """The limits that a process puts on itself for good, before it loads any code."""
        return {
            # Not the address space: libraries reserve more of that than they ever use.
            "RLIMIT_DATA": self.memory,
            "RLIMIT_FSIZE": self.disk,
            # Counts all processes of a user, and never root's: the guard counts the environment's.
            "RLIMIT_NPROC": 4096,
            "RLIMIT_CORE": 0,
        }


def machine_limits() -> Limits:
    """Return limits that leave room for others on this machine, or in this container."""
    bounds = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in _MEMORY_BOUNDS:
        # Says "max", or a number beyond all memory, where there is none.
        with suppress(OSError, ValueError):
            bounds.append(int(path.read_text()))
    return Limits(memory=min(bounds) // 2)


@dataclass(frozen=True)
class Sandbox:
    """A way to start an environment's process. Without `bubblewrap` only the base layers hold."""

    bubblewrap: str | None
    network: bool

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers that are on, for people to read."""
        if self.bubblewrap is None:
            return _BASE_LAYERS
        network = () if self.network else ("no-network",)
        return (*_BASE_LAYERS, *_BUBBLEWRAP_LAYERS, *network)

    def command(
        self, command: Sequence[str], *, readable: Sequence[Path], folder: Path, disk: int
    ) -> list[str]:
        """Return how to start `command` in `folder`, with the paths `readable` visible to it.

        Each of its two places for temporary files holds `disk` bytes.
        """
        if self.bubblewrap is None:
            return list(command)
        isolation = bubblewrap_arguments(
            readable=readable, folder=folder, network=self.network, disk=disk
        )
        return [self.bubblewrap, *isolation, "--", *command]


def choose_sandbox(mode: SandboxMode, *, network: bool) -> Sandbox:
    """Return the strongest sandbox that `mode` allows here.

    Raise `Unavailable` if it is `required` and bubblewrap is missing or does not work.
    """
    found = None if mode is SandboxMode.OFF else shutil.which("bwrap")
    if found is not None and bubblewrap_works(found):
        return Sandbox(bubblewrap=found, network=network)
    if mode is SandboxMode.REQUIRED:
        reason = "is not installed" if found is None else "cannot create namespaces here"
        raise Unavailable(
            f"A sandbox is required, but bubblewrap {reason}.",
            hint="Install the package `bubblewrap` and allow user namespaces, "
            "or run with `--sandbox=auto`.",
        )
    return Sandbox(bubblewrap=None, network=network)


@functools.cache
def bubblewrap_works(bubblewrap: str) -> bool:
    """Say whether a process can be started with all our layers: containers may refuse some."""
    isolation = bubblewrap_arguments(readable=(), folder=Path("/usr"), network=False, disk=_GIB)
    try:
        probe = subprocess.run(
            [bubblewrap, *isolation, "--", "/usr/bin/env", "true"],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=_PROBE_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return probe.returncode == 0


def bubblewrap_arguments(
    *, readable: Sequence[Path], folder: Path, network: bool, disk: int
) -> list[str]:
    """Return bubblewrap's arguments. `folder`, one of the `readable`, is where it starts."""
    visible = [*_SYSTEM_PATHS, *(_NETWORK_PATHS if network else ())]
    arguments = ["--unshare-all", "--unshare-user", "--uid", _NOBODY, "--gid", _NOBODY]
    arguments += ["--cap-drop", "ALL", "--new-session", "--die-with-parent"]
    if network:
        arguments += ["--share-net"]
    for path in visible:
        arguments += ["--ro-bind-try", path, path]
    arguments += ["--proc", "/proc", "--dev", "/dev"]
    for writable in _WRITABLE_PATHS:
        arguments += ["--size", str(disk), "--tmpfs", writable]
    # After /tmp, since what is shown may lie in it.
    for path in readable:
        arguments += ["--ro-bind", str(path), str(path)]
    # Some files of /proc speak to the kernel, and do not ask root, even one of here, for more than
    # being root. The other two are made in memory, without a bound of size.
    arguments += ["--remount-ro", "/proc", "--remount-ro", "/dev", "--remount-ro", "/"]
    return [*arguments, "--chdir", str(folder)]


def clean_environment(secrets: Mapping[str, str]) -> dict[str, str]:
    """Return all that the process gets as environment variables.

    Without bubblewrap's private `/tmp` the guard makes another folder, and names that instead.
    """
    return {
        **secrets,
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": "/tmp",  # noqa: S108
        "TMPDIR": "/tmp",  # noqa: S108
        "LANG": "C.UTF-8",
    }
