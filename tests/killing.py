"""`kill -9` of a worker and its job at chosen moments of a run, and what must be true afterwards."""

import random
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum

import psutil

from freesolo import processes
from freesolo.domain.lifecycle import RUN_ENDED, RunState
from freesolo.schemas.runs import EventKind, Run, RunEvent
from tests.platforms import Platform, WorkerProcess, wait_for


class Victim(StrEnum):
    """Who is killed."""

    JOB = "job"
    WORKER = "worker"
    BOTH = "both"


@dataclass(frozen=True)
class Work:
    """What is trained while it is killed: an environment, and the settings of a run on it."""

    name: str
    source: str
    settings: Mapping[str, object]


@dataclass(frozen=True)
class Moment:
    """When who is killed: so many seconds after the job of an attempt has started, or trains."""

    seconds: float
    victim: Victim
    trains: bool = False


@dataclass(frozen=True)
class Killed:
    """What one kill met: in which attempt, doing what, after which step."""

    moment: Moment
    attempt: int
    phase: str
    step: int


@dataclass(frozen=True)
class Trained:
    """What a run left: its events, and the digest of each adapter by step."""

    run: Run
    events: list[RunEvent]
    digests: dict[int, str]
    seconds: float
    kills: tuple[Killed, ...] = ()

    @property
    def training_seconds(self) -> float:
        """How long it took from its start-up on."""
        assert self.run.started_at is not None
        assert self.run.ended_at is not None
        return (self.run.ended_at - self.run.started_at).total_seconds()


def random_moments(
    seed: int, count: int, undisturbed: Trained, *, trains: bool = False
) -> Iterator[Moment]:
    """Yield moments of a run like one that was left alone: of all of it, or from its start-up on."""
    within = undisturbed.training_seconds if trains else undisturbed.seconds
    chance = random.Random(seed)  # noqa: S311 - moments, no secrets
    for _ in range(count):
        yield Moment(chance.uniform(0.0, within), chance.choice(list(Victim)), trains)


def train(
    platform: Platform, worker: WorkerProcess, work: Work, moments: Sequence[Moment]
) -> tuple[Trained, WorkerProcess]:
    """Train a run to its end, with a kill at each moment; return what it left, and the last worker.

    Fail if anything that the hub had acknowledged before a kill is not there after it.
    """
    began = time.monotonic()
    run = platform.submit(work.name, **work.settings)
    kills = []
    for moment in moments:
        if _wait(platform, worker, run, moment):
            break
        before = _recorded(platform, run)
        shown = platform.client.run(run.id)
        jobs = _kill(worker, run, moment.victim)
        kills.append(Killed(moment, shown.attempt, str(shown.phase or shown.state), shown.step))
        if not worker.process.is_running():
            worker = platform.start_worker()
        psutil.wait_procs(jobs, timeout=60)
        assert not any(map(_lives, jobs))
        _check_nothing_lost(before, _recorded(platform, run))
    run = platform.wait_for_state(run, RunState.DONE)
    events, digests = _recorded(platform, run)
    seconds = time.monotonic() - began
    return Trained(run, events, digests, seconds, tuple(kills)), worker


def check_equal(trained: Trained, undisturbed: Trained) -> None:
    """Fail unless a run came to what the undisturbed one did: every adapter to the byte, every step."""
    assert trained.digests == undisturbed.digests
    assert trained.run.step == undisturbed.run.step
    # Steps after the last checkpoint are made, and told, once more.
    assert _steps(trained.events) == _steps(undisturbed.events)


def check_nothing_left(worker: WorkerProcess) -> None:
    """Fail unless nothing of any attempt is left where a worker keeps them."""
    left = {"run", "worker.lock"}
    wait_for(lambda: {path.name for path in worker.work_dir.iterdir()} == left)
    wait_for(lambda: not list(worker.work_dir.glob("run/*")))
    jobs = [child for child in psutil.process_iter() if _is_job_in(child, worker)]
    assert jobs == []


def _wait(platform: Platform, worker: WorkerProcess, run: Run, moment: Moment) -> bool:
    """Wait for a moment of the attempt that comes; say whether the run ended before it."""

    def has_ended() -> bool:
        return platform.client.run(run.id).state in RUN_ENDED

    def has_come() -> bool:
        trains = platform.client.run(run.id).state is RunState.RUNNING
        return bool(_jobs(worker, run)) and (trains or not moment.trains)

    wait_for(lambda: has_ended() or has_come())
    deadline = time.monotonic() + moment.seconds
    while (left := deadline - time.monotonic()) > 0 and not has_ended():
        threading.Event().wait(min(0.05, left))
    return has_ended()


def _kill(worker: WorkerProcess, run: Run, victim: Victim) -> list[psutil.Process]:
    """Kill; return the processes that must be gone soon."""
    jobs = _jobs(worker, run)
    if victim is not Victim.JOB:
        worker.process.send_signal(signal.SIGKILL)
        worker.process.wait()
    if victim is not Victim.WORKER:
        for job in jobs:
            with suppress(psutil.NoSuchProcess):
                job.send_signal(signal.SIGKILL)
    return jobs


def _jobs(worker: WorkerProcess, run: Run) -> list[psutil.Process]:
    records = worker.work_dir.glob(f"run/{run.id}-*.json")
    return [job for job in map(processes.find_process, records) if job is not None]


def _recorded(platform: Platform, run: Run) -> tuple[list[RunEvent], dict[int, str]]:
    points = platform.client.checkpoints(run.id)
    return platform.events(run), {point.step: point.digest for point in points}


def _check_nothing_lost(
    before: tuple[list[RunEvent], dict[int, str]], after: tuple[list[RunEvent], dict[int, str]]
) -> None:
    events, digests = before
    assert after[0][: len(events)] == events
    assert digests.items() <= after[1].items()


def _steps(events: list[RunEvent]) -> dict[int | None, object]:
    """Return the loss of each step as it was told last."""
    return {e.step: e.data["loss"] for e in events if e.kind is EventKind.METRICS}


def _lives(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def _is_job_in(process: psutil.Process, worker: WorkerProcess) -> bool:
    try:
        return str(worker.work_dir) in " ".join(process.cmdline()) and _lives(process)
    except psutil.Error:
        return False
