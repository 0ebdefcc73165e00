"""`kill -9` of worker and job at random moments of real runs: what is lost?

Runs of SFT and of GRPO take turns. Each trains the tiny model of the tests through a real hub, a real
worker and a real job, and is killed once at a random moment, of all of the run or from its start-up on:
the job, its worker, or both. A new worker takes the place of a dead one. Every run must end `done` with
the adapters of a run that nobody disturbed, to the byte; whatever the hub had acknowledged before the kill
must still be there; and no process may be left::

    python -m benchmarks.kill_worker --times 20 --seed 1
"""

import argparse
import shutil
import tempfile
from collections import Counter
from itertools import count, cycle, islice
from pathlib import Path

from hub_server.migrating import migrate
from tests.component.worker.test_grpo import SETTINGS, VOWELS
from tests.component.worker.test_training import COUNT
from tests.killing import Trained, Work, check_equal, check_nothing_left, random_moments, train
from tests.platforms import Platform, WorkerProcess, running_platform

SFT = Work("count", COUNT, {"max_steps": 240, "save_every": 20})
GRPO = Work("vowels", VOWELS, {**SETTINGS, "max_steps": 24, "save_every": 4})


def main() -> None:
    """Kill as often as asked for and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--times", type=int, default=20, help="how many kills, each in its own run")
    parser.add_argument("--seed", type=int, default=1, help="decides the moments and the victims")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="kill-worker-"))
    try:
        kill_often(folder, arguments.times, arguments.seed)
    finally:
        shutil.rmtree(folder)


def kill_often(folder: Path, times: int, seed: int) -> None:
    """Train each kind once undisturbed, and then in turns with a kill each time."""
    database = folder / "migrated.db"
    migrate(f"sqlite:///{database}")
    with running_platform(folder, database) as platform:
        worker = platform.start_worker()
        undisturbed = {}
        for work in (SFT, GRPO):
            undisturbed[work.name], worker = train_undisturbed(platform, worker, work)
        print(
            "\n| kill | algorithm | victim | after, s | of | phase | at step | attempts | seconds |"
        )
        print("|---|---|---|---|---|---|---|---|---|")
        struck: Counter[str] = Counter()
        seeds = count(seed)
        turns = cycle((work, trains) for trains in (True, False) for work in (SFT, GRPO))
        for work, trains in islice(turns, times):
            alone = undisturbed[work.name]
            trained = alone
            # A moment after the end of a run is drawn anew.
            while not trained.kills:
                moments = list(random_moments(next(seeds), 1, alone, trains=trains))
                trained, worker = train(platform, worker, work, moments)
                check_equal(trained, alone)
            (met,) = trained.kills
            algorithm = trained.run.spec["algorithm"]
            struck[f"{algorithm} in {met.phase}"] += 1
            print(
                f"| {struck.total()} | {algorithm} | {met.moment.victim} | {met.moment.seconds:.1f} "
                f"| {'training' if trains else 'the run'} | {met.phase} | {met.step} "
                f"| {trained.run.attempt} | {trained.seconds:.1f} |",
                flush=True,
            )
        check_nothing_left(worker)
    print(f"\nStruck: {', '.join(f'{count} {what}' for what, count in sorted(struck.items()))}.")
    print(f"{times} runs done with the same bytes, nothing recorded lost, no process left.")


def train_undisturbed(
    platform: Platform, worker: WorkerProcess, work: Work
) -> tuple[Trained, WorkerProcess]:
    """Train work that is left alone, and tell how long it takes."""
    platform.publish(work.name, work.source)
    # Once before, so that no run pays for installing the environment.
    train(platform, worker, work, [])
    alone, worker = train(platform, worker, work, [])
    print(
        f"{work.name}, undisturbed: {alone.seconds:.1f} s, of which {alone.training_seconds:.1f} s "
        f"training; adapters {len(alone.digests)}."
    )
    return alone, worker


if __name__ == "__main__":
    main()
