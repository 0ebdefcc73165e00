"""A hub that is killed at a chosen step: `python -m tests.stopping_hub`.

For each number on standard input a hub starts, as a process of its own, on the same settings and
the same port. It kills itself, as `kill -9` would, at its n-th step: the begin or the end of a call
of its store or of a commit. With 0 it lives on. The next line kills it in any case. What happens is
told on standard output: the port, then the process id of each hub, then how it ended.

Its parent builds the application, which opens nothing before it starts, and forks, so that each hub
starts at once. Nothing of this is in the hub itself.
"""

import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from itertools import count

import uvicorn
from fastapi import FastAPI
from sqlalchemy import event

from freesolo.package.secrets import find_secrets
from hub_server.app import create_app
from hub_server.settings import HubSettings


class StoppingStore:
    """A store, each call of which is two steps: before it and after it."""

    def __init__(self, store: object, step: Callable[[], None]) -> None:
        self._store = store
        self._step = step

    def __getattr__(self, name: str) -> object:
        """Return the store's attribute, its methods with steps around them."""
        found = getattr(self._store, name)
        if not callable(found):
            return found

        def stepping(*args: object, **kwargs: object) -> object:
            self._step()
            result = found(*args, **kwargs)
            self._step()
            return result

        return stepping


class Steps:
    """Counts what a hub does for requests, and kills it when it comes to `stop_at`."""

    def __init__(self) -> None:
        self.stop_at = 0
        self._numbers = count(1)

    def take(self, *_: object) -> None:
        """Take one step. The hub's own threads, with their own times, are not counted."""
        of_request = threading.current_thread().name.startswith("AnyIO")
        if of_request and next(self._numbers) == self.stop_at:
            os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    """Start a hub for each line of standard input."""
    steps = Steps()
    app = _app(steps)
    # What is loaded for a hub's first publish takes longer than the publish.
    find_secrets("nothing", [b"nothing"])
    with socket.create_server(("127.0.0.1", 0)) as listening:
        _tell(listening.getsockname()[1])
        while line := sys.stdin.readline():
            steps.stop_at = int(line)
            pid = os.fork()
            if pid == 0:
                config = uvicorn.Config(app, log_config=None, access_log=False, ws="none")
                uvicorn.Server(config).run(sockets=[listening])
                os._exit(0)
            _tell(pid)
            # Whoever asked has seen enough. Dead or not, nobody else has its number before this.
            sys.stdin.readline()
            os.kill(pid, signal.SIGKILL)
            _tell(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


def _app(steps: Steps) -> FastAPI:
    app = create_app(HubSettings())
    resources = app.state.resources
    store = StoppingStore(resources.blobs, steps.take)
    app.state.resources = replace(resources, blobs=store)
    for moment in ("before_commit", "after_commit"):
        event.listen(resources.sessions, moment, steps.take)
    return app


def _tell(number: int) -> None:
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
