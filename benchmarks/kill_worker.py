"""`kill -9` of worker and job at random moments of real runs: what is lost?

Each run trains the tiny model of the tests through a real hub, a real worker and a real job, and is
killed once at a random moment: the job, its worker, or both. A new worker takes the place of a dead
one. Every run must end `done` with the adapters of a run that nobody disturbed, to the byte; whatever
the hub had acknowledged before the kill must still be there; and no process may be left::

    python -m benchmarks.kill_worker --times 20 --seed 1
"""

import argparse
import shutil
import tempfile
from pathlib import Path

from hub_server.migrating import migrate
from tests.component.worker.test_training import COUNT
from tests.killing import check_equal, check_nothing_left, random_moments, train
from tests.platforms import running_platform

SETTINGS = {"max_steps": 60, "save_every": 10}


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
    """Train once undisturbed and then with a kill each time."""
    database = folder / "migrated.db"
    migrate(f"sqlite:///{database}")
    with running_platform(folder, database) as platform:
        platform.publish("count", COUNT)
        worker = platform.start_worker()
        # Once before, so that no run pays for installing the environment.
        train(platform, worker, "count", [], **SETTINGS)
        undisturbed, worker = train(platform, worker, "count", [], **SETTINGS)
        print(f"Undisturbed: {undisturbed.seconds:.1f} s, adapters {len(undisturbed.digests)}.\n")
        print("| kill | victim | after, s | met | at step | attempts | seconds | same bytes |")
        print("|---|---|---|---|---|---|---|---|")
        for number, moment in enumerate(
            random_moments(seed, times, within=undisturbed.seconds), start=1
        ):
            trained, worker = train(platform, worker, "count", [moment], **SETTINGS)
            check_equal(trained, undisturbed)
            met = trained.kills[0] if trained.kills else None
            print(
                f"| {number} | {moment.victim} | {moment.seconds:.1f} "
                f"| {met.phase if met else 'ended before'} | {met.step if met else ''} "
                f"| {trained.run.attempt} | {trained.seconds:.1f} | yes |",
                flush=True,
            )
        check_nothing_left(worker)
    print(f"\n{times} kills; every run done, nothing recorded lost, no process left.")


if __name__ == "__main__":
    main()
