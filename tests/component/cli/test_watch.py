"""How a run learns, as the command line shows it: metrics, samples, hints, the live view."""

import csv
import io
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from rich.console import Console

from freesolo.cli.run_view import RunView, duration
from freesolo.client.hub import HubClient
from freesolo.client.transport import Transport
from freesolo.domain.devices import Devices
from freesolo.domain.refs import EnvRef
from freesolo.errors import InvalidInput
from freesolo.schemas.leases import Lease
from freesolo.schemas.runs import Run
from tests.component.cli.conftest import Freesolo
from tests.factories import make_environment, pack_folder
from tests.hubs import LiveHub
from tests.platforms import wait_for
from training_backend.hub import LeaseHub
from training_backend.machine import find_machine
from training_backend.progress import RunProgress
from training_backend.recipes.task import Sample

MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
STEPS = 20


@dataclass(frozen=True)
class Training:
    """A run that trains, and the worker's side of it."""

    hub: LiveHub
    lease: Lease
    progress: RunProgress

    @property
    def id(self) -> str:
        """The run's id."""
        return self.lease.run_id

    def arrive(self, message: str) -> None:
        """Log a message; return once it is there, and with it all that was told before."""
        self.progress.log(message)
        with HubClient(self.hub.url, self.hub.user_key) as client:
            wait_for(
                lambda: any(
                    event.data.get("message") == message
                    for event in client.run_events(self.id, after=0).events
                )
            )


def submit(hub: LiveHub) -> Run:
    """Queue a run on the environment."""
    with HubClient(hub.url, hub.user_key) as client:
        return client.create_run({"model": MODEL, "environment": {"id": "local/agree"}})


def step_metrics(step: int) -> dict[str, float]:
    reward = step / STEPS
    return {"reward": reward, "reward_std": 0.2, "loss": -0.01, "time/step": 3.0, "custom": 7.0}


def rollout(number: int, reward: float | None, **changes: object) -> Sample:
    values: dict[str, object] = {
        "example": 4,
        "rollout": number,
        "messages": [{"role": "user", "content": "What is 6 * 7?"}],
        "completion": [{"role": "assistant", "content": f"answer {number}"}],
        "reward": reward,
        "advantage": 0.5,
        "finish": "stop",
        "tokens": 3,
    }
    return Sample(**(values | changes))  # type: ignore[arg-type]


@pytest.fixture
def training(with_hub: LiveHub, tmp_path: Path) -> Iterator[Training]:
    """A run that a worker has begun, with its first steps told."""
    archive = pack_folder(make_environment(tmp_path / "agree"))
    with HubClient(with_hub.url, with_hub.user_key) as client:
        client.publish(EnvRef("local", "agree"), "0.1.0", archive)
    submit(with_hub)
    transport = Transport(with_hub.url, with_hub.worker_key)
    hub = LeaseHub(transport)
    lease = hub.claim("worker-1", Devices("cpu", 1))
    assert lease is not None
    progress = RunProgress(hub, lease, find_machine=find_machine)
    progress.started(STEPS)
    progress.log("Loading the base model.")
    for step in range(1, 16):
        progress.metrics(step, step_metrics(step))
        progress.samples(
            step,
            [rollout(1, 0.5), rollout(0, 1.0), rollout(2, 0.0), rollout(3, None, error="hung")],
        )
    training = Training(with_hub, lease, progress)
    training.arrive("Fifteen steps.")
    yield training
    transport.close()


def test_metrics_are_one_object_for_each_step(freesolo: Freesolo, training: Training) -> None:
    steps = freesolo("runs", "metrics", training.id, "--json").document["steps"]
    assert [each["step"] for each in steps] == list(range(1, 16))
    assert steps[0] == {"step": 1, **step_metrics(1)}


def test_a_table_has_the_main_metrics_and_csv_all(freesolo: Freesolo, training: Training) -> None:
    table = freesolo("runs", "metrics", training.id).out
    assert table.splitlines()[0].split() == ["step", "reward", "std", "loss", "seconds"]
    assert table.splitlines()[15].split() == ["15", "0.75", "0.2", "-0.01", "3"]
    rows = list(csv.DictReader(io.StringIO(freesolo("runs", "metrics", training.id, "--csv").out)))
    assert len(rows) == 15
    assert rows[2] == {
        "step": "3",
        **{name: str(value) for name, value in sorted(step_metrics(3).items())},
    }


def test_samples_are_those_of_the_newest_step_the_best_and_the_worst_first(
    freesolo: Freesolo, training: Training
) -> None:
    samples = freesolo("runs", "samples", training.id, "--json").document["samples"]
    assert {sample["step"] for sample in samples} == {15}
    assert [sample["reward"] for sample in samples] == [1.0, 0.0, 0.5, None]
    assert samples[0]["completion"] == [{"role": "assistant", "content": "answer 0"}]
    assert (samples[0]["advantage"], samples[3]["error"]) == (0.5, "hung")

    words = freesolo("runs", "samples", training.id, "--step", 2).out
    assert words.splitlines()[:3] == [
        "Step 2, example 4, rollout 0: reward 1, advantage +0.5, stop, 3 tokens",
        "  user: What is 6 * 7?",
        "  assistant: answer 0",
    ]
    assert "error: hung" in words


def test_samples_of_all_steps_are_read_page_by_page(freesolo: Freesolo, training: Training) -> None:
    progress = training.progress
    for step in range(16, 60):
        progress.samples(step, [rollout(number, 0.1) for number in range(4)])
    training.arrive("More than a page.")
    samples = freesolo("runs", "samples", training.id, "--all", "--json").document["samples"]
    assert [sample["step"] for sample in samples] == [s for s in range(59, 0, -1) for _ in range(4)]


def test_a_run_that_told_nothing_has_no_metrics_and_no_samples(
    freesolo: Freesolo, training: Training
) -> None:
    run = submit(training.hub)
    assert freesolo("runs", "show", run.id, "--json").document["hints"] == []
    assert freesolo("runs", "metrics", run.id, "--json").document == {"steps": []}
    assert freesolo("runs", "samples", run.id, "--json").document == {"samples": []}
    assert "no samples of step 99" in freesolo("runs", "samples", training.id, "--step", 99).err


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("metrics", "run-nothere000"), 3),
        (("samples", "run-nothere000"), 3),
        (("watch", "run-nothere000"), 3),
        (("samples", "run-nothere000", "--step", "0"), 2),
        (("samples", "run-nothere000", "--step", "1", "--all"), 2),
    ],
)
def test_what_cannot_be_shown_is_refused(
    freesolo: Freesolo, with_hub: LiveHub, arguments: tuple[str, ...], code: int
) -> None:
    assert freesolo("runs", *arguments, "--json").code == code


def test_a_run_is_shown_with_what_its_metrics_mean(freesolo: Freesolo, training: Training) -> None:
    (hint,) = freesolo("runs", "show", training.id, "--json").document["hints"]
    assert (hint["code"], hint["mood"]) == ("learns", "good")
    assert hint["message"] in freesolo("runs", "show", training.id).out


def test_without_a_terminal_watching_is_a_line_for_each_event(
    freesolo: Freesolo, training: Training
) -> None:
    training.progress.fail(InvalidInput("The task makes no sense."))
    watched = freesolo("runs", "watch", training.id)
    assert watched.code == 1
    # The main ones only; `runs metrics` has them all.
    assert "step 15: reward=0.75 reward_std=0.2 loss=-0.01 time/step=3\n" in watched.err
    assert "Loading the base model." in watched.err
    assert "The task makes no sense." in watched.err
    assert "answer 0" not in watched.err


def test_a_terminal_shows_the_run_live_and_ctrl_c_leaves_it(
    training: Training, tmp_path: Path
) -> None:
    terminal, end = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "freesolo", "runs", "watch", training.id, "--json"],
        stdout=subprocess.PIPE,
        stderr=end,
        env={
            "PATH": os.defpath,
            "TERM": "xterm",
            "LANG": "C.UTF-8",
            "COLUMNS": "100",
            "LINES": "40",
            "HOME": str(tmp_path),
            "FREESOLO_HOME": str(tmp_path / "home"),
            "FREESOLO_HUB_URL": training.hub.url,
            "FREESOLO_API_KEY": training.hub.user_key,
        },
    )
    os.close(end)
    try:
        screen = _read_until(terminal, "answer 0")
        process.send_signal(signal.SIGINT)
        screen += _read_until(terminal, "goes on")
        printed, _ = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
        os.close(terminal)
    assert process.returncode == 0
    assert json.loads(printed)["state"] == "running"
    for words in ("15 of 20 steps", "15 s left", "reward", "▁", "It learns", "rollout 0: reward 1"):
        assert words in screen


def _read_until(terminal: int, words: str) -> str:
    """Return what a terminal shows, as soon as `words` are among it."""
    text = ""
    deadline = time.monotonic() + 60
    while words not in text:
        assert time.monotonic() < deadline, text
        shown = os.read(terminal, 65536).decode(errors="replace")
        text += re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown)
    return text


def drawn(view: RunView, *, width: int = 100, encoding: str = "utf-8") -> str:
    """Return a view as a terminal of some width shows it."""
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding, write_through=True)
    console = Console(file=file, width=width, soft_wrap=True, markup=False, highlight=False)
    console.print(view)
    file.seek(0)
    return file.read()


@pytest.fixture
def view(training: Training) -> RunView:
    """The view of the run, with all that it has told."""
    with HubClient(training.hub.url, training.hub.user_key) as client:
        view = RunView(client.run(training.id))
        for event in client.run_events(training.id, after=0).events:
            view.hear(event)
        view.sample = client.newest_sample(training.id)
    return view


def test_the_view_fits_every_terminal(view: RunView) -> None:
    for width in (40, 60, 100, 200):
        assert {len(line) for line in drawn(view, width=width).splitlines()} == {width}


def test_the_view_needs_no_unicode(view: RunView) -> None:
    assert "reward  _" in drawn(view, encoding="ascii")


def test_a_sample_cannot_steer_the_terminal(view: RunView) -> None:
    assert view.sample is not None
    hostile = [{"role": "assistant", "content": "\x1b[2J [bold]boo[/bold]"}]
    view.sample = view.sample.model_validate(view.sample.model_dump() | {"completion": hostile})
    assert r"\x1b[2J [bold]boo[/bold]" in drawn(view)


def test_a_step_that_is_repeated_is_drawn_as_it_went_last(
    view: RunView, training: Training
) -> None:
    with HubClient(training.hub.url, training.hub.user_key) as client:
        events = client.run_events(training.id, after=0).events
    (tenth,) = [event for event in events if event.step == 10]
    view.hear(tenth.model_copy(update={"attempt": 2, "data": {"reward": 0.9}}))
    assert view.steps[-1] == {"step": 10, "reward": 0.9}
    assert len(view.steps) == 10
    shown = drawn(view)
    assert "10 of 20 steps" in shown
    # Nothing of the steps that are still to be done again.
    assert "0.9  (" in shown


def test_a_run_that_waits_says_so(view: RunView) -> None:
    queued = Run.model_validate(view.run.model_dump() | {"state": "queued", "total_steps": None})
    assert "It waits for a worker." in drawn(RunView(queued))


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0 s"), (52, "52 s"), (67, "1 min 07 s"), (7500, "2 h 05 min")]
)
def test_time_is_written_in_two_units(seconds: float, words: str) -> None:
    assert duration(seconds) == words
