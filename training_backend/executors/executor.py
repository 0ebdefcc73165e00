"""What a worker asks of an executor. The worker decides; an executor only starts, looks and ends."""

from collections.abc import Sequence
from typing import Protocol

from freesolo.schemas.leases import Lease
from training_backend.post_mortem import Exit


class Attempt(Protocol):
    """One attempt at a run: a process somewhere. No call waits long for a machine that is silent."""

    def poll(self) -> Exit | None:
        """Return how the process ended, or None while it lives, or waits for room to."""

    def has_begun(self) -> bool:
        """Say whether the process runs, or ran, as of the last `poll`; before that it waits for room."""

    def stop(self) -> None:
        """End the process with everything it started; return when it is gone, or out of reach."""

    def log_tail(self) -> str:
        """Return the end of what the process printed, empty if that is lost."""

    def forget(self) -> None:
        """Remove what the attempt left: nobody asks for it any more."""


class Executor(Protocol):
    """A place that runs attempts."""

    def start(self, lease: Lease) -> Attempt:
        """Start the attempt that a lease is for."""

    def sweep(self) -> Sequence[Lease]:
        """End what a worker that was killed had started here, and return its leases."""
