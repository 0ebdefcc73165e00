"""A run whose metrics also go to trackers: packages of the trackers' shape, in a real job."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from freesolo.domain.lifecycle import RunState
from freesolo.schemas.runs import Run
from tests import tiny_model
from tests.platforms import Platform, wait_for

KEY = "wandb-key-of-the-owner-0123456789"

# The reward demands that the tracker's key is not there.
COUNT = '''
    """Say the number that follows."""

    import os

    from freesolo.environments import EnvironmentSingleTurn, RewardResult


    class Count(EnvironmentSingleTurn):
        dataset = [{"input": f"After {n}?", "output": str(n + 1)} for n in range(7)]

        def build_prompt_messages(self, example, prompt_text):
            return [{"role": "user", "content": example.input}]

        def score_response(self, example, response, **kwargs):
            if "WANDB_API_KEY" in os.environ:
                raise ValueError("the key is here")
            return RewardResult(score=float(response == example.output))


    def load_environment(**params):
        return Count()
'''

# Both write down what they are called with, in one line of JSON each.
_RECORDING = """
import json
from pathlib import Path

def _note(**what):
    with Path({record!r}).open("a") as file:
        file.write(json.dumps(what) + "\\n")

class Run:
    def log(self, values, step):
        _note(tracker={name!r}, step=step, values=values)

    def finish(self, exit_code=None):
        _note(tracker={name!r}, exit_code=exit_code)
"""
_WANDB = """
def Settings(**settings):
    return settings

def init(*, project, name, id, resume, config, dir, settings):
    _note(tracker="wandb", project=project, name=name, id=id, resume=resume, key=settings["api_key"])
    return Run()
"""
_TRACKIO = """
def init(*, project, name, resume, config, embed, auto_log_gpu, auto_log_cpu):
    _note(tracker="trackio", project=project, name=name, resume=resume)
    return Run()
"""
_BROKEN = """
def Settings(**settings):
    return settings

def init(**arguments):
    raise RuntimeError("401 Unauthorized: " + arguments["settings"]["api_key"])
"""


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that the worker's processes import from."""
    folder = tmp_path / "packages"
    folder.mkdir()
    monkeypatch.setenv("PYTHONPATH", str(folder))
    return folder


def install(packages: Path, record: Path) -> None:
    """Put both trackers into `packages`."""
    for name, source in (("wandb", _WANDB), ("trackio", _TRACKIO)):
        head = _RECORDING.format(record=str(record), name=name)
        (packages / f"{name}.py").write_text(head + source)


def submit(platform: Platform, *, max_steps: int, **tables: object) -> Run:
    """Queue a tracked run."""
    platform.publish("count", COUNT)
    return platform.client.create_run(
        {
            "model": tiny_model.MODEL_ID,
            "environment": {"id": "local/count"},
            "train": {"batch_size": 2, "lora_rank": 4, "max_steps": max_steps, "save_every": 2},
            **tables,
        },
        {"WANDB_API_KEY": KEY} if "wandb" in tables else {},
    )


def calls(record: Path) -> list[dict[str, Any]]:
    """Return what the trackers were called with."""
    return [json.loads(line) for line in record.read_text().splitlines()] if record.exists() else []


def test_trackers_get_every_step_and_the_next_attempt_goes_on_in_the_same_place(
    platform: Platform, packages: Path, tmp_path: Path
) -> None:
    record = tmp_path / "calls.jsonl"
    install(packages, record)
    tables = {
        "wandb": {"project": "math", "run_name": "first"},
        "trackio": {"project": "math"},
    }
    run = submit(platform, max_steps=30, **tables)
    worker = platform.start_worker()
    job = worker.job(run)
    wait_for(
        lambda: bool(platform.client.checkpoints(run.id) or platform.client.run(run.id).ended_at)
    )
    job.send_signal(signal.SIGKILL)

    run = platform.wait_for_state(run, RunState.DONE)

    assert run.attempt == 2
    opened = [call for call in calls(record) if "project" in call]
    wandb = {"project": "math", "name": "first", "id": run.id, "resume": "allow", "key": KEY}
    trackio = {"project": "math", "name": run.id, "resume": "allow"}
    assert [call for call in opened if call["tracker"] == "wandb"] == 2 * [
        {"tracker": "wandb", **wandb}
    ]
    assert [call for call in opened if call["tracker"] == "trackio"] == 2 * [
        {"tracker": "trackio", **trackio}
    ]
    for name, ending in (("wandb", 0), ("trackio", None)):
        of_one = [call for call in calls(record) if call["tracker"] == name]
        steps = {call["step"]: call["values"] for call in of_one if "step" in call}
        assert sorted(steps) == list(range(1, 31))
        assert {"loss", "tokens_per_s"} <= steps[30].keys()
        assert of_one[-1] == {"tracker": name, "exit_code": ending}
    assert KEY not in run.model_dump_json() + str(platform.events(run))
    assert [
        path
        for path in worker.work_dir.rglob("*")
        if path.is_file() and KEY.encode() in path.read_bytes()
    ] == []


def test_a_tracker_that_refuses_the_run_is_told_of_once_without_the_key(
    platform: Platform, packages: Path
) -> None:
    (packages / "wandb.py").write_text(_BROKEN)
    run = submit(platform, max_steps=3, wandb={"project": "math"})
    platform.start_worker()

    run = platform.wait_for_state(run, RunState.DONE)

    told = [str(event.data["message"]) for event in platform.events(run) if "message" in event.data]
    assert [line for line in told if "Weights & Biases" in line] == [
        "Weights & Biases does not get the metrics of this run: RuntimeError: 401 Unauthorized: ****. "
        "The run goes on."
    ]


def test_a_run_that_asks_for_a_tracker_that_the_worker_lacks_fails_at_once(
    platform: Platform,
) -> None:
    run = submit(platform, max_steps=3, trackio={"project": "math"})
    platform.start_worker()

    run = platform.wait_for_state(run, RunState.FAILED)

    assert run.error is not None
    assert run.error.code == "invalid_train_spec"
    assert "freesolo[trackio]" in (run.error.hint or "")
    assert run.step == 0
