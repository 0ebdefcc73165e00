"""A run on an environment that builds on another, through a real hub and a real worker."""

from freesolo.domain.lifecycle import RunState
from freesolo.domain.refs import EnvRef
from tests.component.worker.test_training import COUNT
from tests.factories import make_environment, pack_folder
from tests.platforms import Platform

BUILDS_ON_COUNT = """
import fsenv_local_count


def load_environment(**params):
    return fsenv_local_count.load_environment(**params)
"""


def test_training_finds_what_the_environment_builds_on(platform: Platform) -> None:
    platform.publish("count", COUNT)
    folder = make_environment(platform.folder / "more", name="more", source=BUILDS_ON_COUNT)
    with (folder / "environment.toml").open("a") as manifest:
        manifest.write('environments = ["local/count>=0.1"]\n')
    platform.client.publish(EnvRef("local", "more"), "0.1.0", pack_folder(folder))
    run = platform.submit("more", max_steps=1, save_every=1)
    platform.start_worker()

    platform.wait_for_state(run, RunState.DONE)
