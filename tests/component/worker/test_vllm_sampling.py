"""Runs of GRPO that are sampled by vLLM, through a real hub and a real worker process."""

import signal
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

import psutil
import pytest
from peft import PeftModel

from freesolo.domain.lifecycle import RunState
from freesolo.schemas.runs import EventKind
from tests.component.worker.test_grpo import SETTINGS, VOWELS
from tests.component.worker.test_watching import gone
from tests.fake_vllm import BASE, KEY, FakeVllm, TinyTokens
from tests.hubs import serving
from tests.platforms import Platform, wait_for
from training_backend.lora import find_device, load_base_model
from training_backend.sampling.trained_adapter import TrainedAdapter

# Stands where vLLM's server does: it never answers, and has a process of its own as vLLM has its engine.
SERVER = """
import subprocess, sys, time

subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)", *sys.argv[1:]])
time.sleep(3600)
"""


class TinyVllm(FakeVllm):
    """A stand-in to which what it says is as likely as the tiny model with an adapter finds it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(TinyTokens(folder))
        self._folder = folder
        self._policy = cache(self._read_policy)

    def logprobs(self, model: str, prompt: Sequence[int], said: Sequence[int]) -> list[float]:
        """Return how likely each token of an answer is."""
        if model == BASE:
            return super().logprobs(model, prompt, said)
        return list(self._policy(model).logprobs(tuple(prompt), tuple(said)))

    def _read_policy(self, name: str) -> TrainedAdapter:
        base = load_base_model(self._folder, find_device())
        return TrainedAdapter(PeftModel.from_pretrained(base, self.adapters[name]), 1.0)


def test_a_run_practises_with_a_vllm_server_that_it_is_told_of(
    platform: Platform, tmp_path: Path
) -> None:
    vllm = TinyVllm(tmp_path / "tiny")
    platform.publish("vowels", VOWELS)
    settings = {**SETTINGS, "max_steps": 3, "learning_rate": 1e-3, "max_context_tokens": 512}
    with serving(vllm.app) as url:
        platform.start_worker(sampler="vllm", vllm_url=url, vllm_api_key=KEY)
        run = platform.wait_for_state(platform.submit("vowels", **settings), RunState.DONE)

    made_by = platform.client.run(run.id).provenance
    assert made_by is not None
    assert str(made_by.sampler).startswith("vllm")
    steps = [event.data for event in platform.events(run) if event.kind is EventKind.METRICS]
    assert len(steps) == 3
    # Where something was learned, it was weighted by what the engine had told.
    assert all(float(str(it.get("sampling/logp_difference_mean", 0.0))) < 0.1 for it in steps)
    # Each step was answered by the policy as it was then, under a name of its own.
    rollouts = [each["model"] for each in vllm.requests if each["max_tokens"] == 24]
    assert list(dict.fromkeys(rollouts)) == [f"{run.id}-1-v{version}" for version in (1, 2, 3)]
    assert vllm.adapters == {}


def engine_of(job: psutil.Process) -> list[psutil.Process]:
    """Return the processes of a job's own vLLM, as far as they run."""
    found = []
    for child in job.children(recursive=True):
        with suppress(psutil.Error):
            found += [child] if "--enable-lora" in child.cmdline() else []
    return found


def test_a_killed_jobs_own_vllm_does_not_outlive_it(
    platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = tmp_path / "stand-in" / "vllm" / "entrypoints" / "openai" / "api_server.py"
    server.parent.mkdir(parents=True)
    for package in server.parents[:3]:
        (package / "__init__.py").touch()
    server.write_text(SERVER)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "stand-in"))
    platform.publish("vowels", VOWELS)
    run = platform.submit("vowels", **SETTINGS)
    worker = platform.start_worker(sampler="vllm")
    job = worker.job(run)
    wait_for(lambda: len(engine_of(job)) == 2)
    engine = engine_of(job)

    job.send_signal(signal.SIGKILL)

    wait_for(lambda: all(map(gone, engine)))
    assert worker.process.is_running()
