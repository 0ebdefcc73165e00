"""Secrets on their way from a submit to the reward, through a real hub, worker and job."""

import signal
from pathlib import Path

import psutil
from sqlalchemy import select

from freesolo.domain.lifecycle import RunState
from freesolo.domain.refs import EnvRef
from freesolo.schemas.runs import Run
from hub_server.models import RunSecret
from tests import tiny_model
from tests.factories import make_environment, pack_folder
from tests.hubs import resources_of
from tests.platforms import Platform, wait_for

EXPECTED = {
    "HANDED_KEY": "handed-in-with-the-run",
    "STORED_KEY": "stored-for-the-project",
    "EXTRA_KEY": "named-by-the-config-alone",
}

# The reward demands the secrets, and that nothing else is there.
JUDGED = f"""
import os

from freesolo.environments import EnvironmentSingleTurn, RewardResult

EXPECTED = {EXPECTED}
OF_THE_SYSTEM = {{"PATH", "HOME", "TMPDIR", "LANG", "PWD", "LC_CTYPE"}}


class Judged(EnvironmentSingleTurn):
    dataset = [{{"input": f"After {{n}}?", "output": str(n + 1)}} for n in range(7)]

    def build_prompt_messages(self, example, prompt_text):
        return [{{"role": "user", "content": example.input}}]

    def score_response(self, example, response):
        given = {{name: os.environ[name] for name in set(os.environ) - OF_THE_SYSTEM}}
        if given != EXPECTED:
            raise ValueError(sorted(given))
        return RewardResult(score=float(response == example.output))


def load_environment(**params):
    return Judged()
"""

TALKATIVE = """
import os

def load_environment(**params):
    print("The key is", os.environ["HANDED_KEY"])
    raise ValueError("refused: " + os.environ["HANDED_KEY"])
"""


def submit(platform: Platform, source: str) -> Run:
    """Queue a run on an environment that gets a secret in each of the three ways."""
    folder = make_environment(platform.folder / "judged", name="judged", source=source)
    with (folder / "environment.toml").open("a") as manifest:
        manifest.write('secrets = ["HANDED_KEY", "STORED_KEY"]\n')
    platform.client.publish(EnvRef("local", "judged"), "0.1.0", pack_folder(folder))
    platform.client.set_secret("STORED_KEY", EXPECTED["STORED_KEY"])
    platform.client.set_secret("UNDECLARED_KEY", "of-some-other-environment")
    return platform.client.create_run(
        {
            "model": tiny_model.MODEL_ID,
            "environment": {"id": "local/judged", "secrets": ["EXTRA_KEY"]},
            "train": {"batch_size": 2, "lora_rank": 4, "max_steps": 1},
        },
        {name: EXPECTED[name] for name in ("HANDED_KEY", "EXTRA_KEY")},
    )


def traces(job: psutil.Process, folder: Path) -> list[str]:
    """Return where a secret stands in the clear: of the job's family or the worker's folder."""
    texts = {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    for kind in ("cmdline", "environ"):
        texts[kind] = Path(f"/proc/{job.pid}/{kind}").read_bytes()
    for child in job.children(recursive=True):
        texts[f"{child.pid} cmdline"] = "\0".join(child.cmdline()).encode()
    secrets = [value.encode() for value in EXPECTED.values()]
    return [place for place, text in texts.items() if any(secret in text for secret in secrets)]


def test_the_reward_gets_what_is_declared_and_a_second_attempt_gets_it_again(
    platform: Platform,
) -> None:
    run = submit(platform, JUDGED)
    worker = platform.start_worker()
    job = worker.job(run)
    wait_for(lambda: "The environment runs with" in str(platform.events(run)))
    assert traces(job, worker.work_dir) == []
    job.send_signal(signal.SIGKILL)

    run = platform.wait_for_state(run, RunState.DONE)

    assert run.attempt == 2
    told = run.model_dump_json() + str(platform.events(run))
    assert not [name for name, value in EXPECTED.items() if value in told]
    with resources_of(platform.hub.app).readers() as session:
        assert session.scalars(select(RunSecret)).all() == []


def test_a_secret_that_the_code_tells_is_masked_in_what_is_recorded(platform: Platform) -> None:
    run = submit(platform, TALKATIVE)
    platform.start_worker()

    run = platform.wait_for_state(run, RunState.FAILED)

    assert run.error is not None
    assert "refused: ****" in run.error.message
    assert EXPECTED["HANDED_KEY"] not in run.model_dump_json() + str(platform.events(run))


def test_a_secret_that_is_gone_by_the_time_of_the_run_fails_it_by_name(platform: Platform) -> None:
    run = submit(platform, JUDGED)
    platform.client.remove_secret("STORED_KEY")
    platform.start_worker()

    run = platform.wait_for_state(run, RunState.FAILED)

    assert run.error is not None
    assert run.error.code == "invalid_secret_missing"
    assert "STORED_KEY" in run.error.message
