"""The README, executed: the whole loop through real processes, with a tiny model and real vLLM."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from openai import NotFoundError, OpenAI

from tests.ports import free_port
from tests.tiny_model import MODEL_ID, build, catalog_toml

STEPS = 6


@dataclass(frozen=True)
class Terminal:
    """A shell of a new user: an empty home, the tiny model in the hub's catalog."""

    work: Path
    environ: dict[str, str]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `freesolo` with these arguments."""
        return subprocess.run(
            [sys.executable, "-m", "freesolo", *arguments, "--json"],
            env=self.environ,
            cwd=self.work,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )

    def __call__(self, *arguments: str) -> Any:  # noqa: ANN401 - JSON
        """Run a command that must succeed and return its document."""
        result = self.run(*arguments)
        assert result.returncode == 0, f"{arguments}: {result.stdout}\n{result.stderr}"
        return json.loads(result.stdout)

    @property
    def data_dir(self) -> Path:
        """The platform's data."""
        return self.work / "home" / "data"

    def processes(self) -> list[psutil.Process]:
        """Return every process that has anything to do with this terminal's folder."""
        found = []
        for process in psutil.process_iter():
            try:
                mentions = [*process.cmdline(), process.cwd(), *process.environ().values()]
            except psutil.Error:
                continue
            if process.pid != os.getpid() and any(str(self.work) in text for text in mentions):
                found.append(process)
        return found


@pytest.fixture(scope="module")
def terminal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    work = tmp_path_factory.mktemp("quickstart")
    catalog = work / "catalog.toml"
    catalog.write_text(catalog_toml(build(work / "tiny")))
    inherited = dict(os.environ)  # noqa: TID251 - a shell's environment
    kept = {name: value for name, value in inherited.items() if "FREESOLO" not in name}
    terminal = Terminal(
        work,
        {
            **kept,
            "FREESOLO_HOME": str(work / "home"),
            "FREESOLO_SERVER_CATALOG": str(catalog),
            "FREESOLO_SERVER_LEASE_SECONDS": "6",
        },
    )
    yield terminal
    terminal.run("down")


@pytest.fixture(scope="module")
def ports() -> tuple[str, ...]:
    return ("--hub-port", str(free_port()), "--gateway-port", str(free_port()))


@pytest.fixture(scope="module")
def platform(terminal: Terminal, ports: tuple[str, ...]) -> dict[str, str]:
    """The platform, up and detached."""
    ready: dict[str, str] = terminal("up", "--detach", *ports)
    return ready


@pytest.fixture(scope="module")
def published(terminal: Terminal, platform: dict[str, str]) -> dict[str, str]:
    terminal("init", "dates")
    assert terminal("validate", "dates")["ok"]
    version: dict[str, str] = terminal("publish", "dates")
    return version


@pytest.fixture(scope="module")
def run(terminal: Terminal, published: dict[str, str]) -> dict[str, Any]:
    """A short run, followed to its end."""
    submitted = terminal(
        *("train", "dates/configs/sft.toml", "--background"),
        *("--set", f"model={MODEL_ID}", "--set", f"train.max_steps={STEPS}"),
        *("--set", "train.save_every=1", "--set", "train.lora_rank=8"),
        *("--set", "train.learning_rate=0.05"),
    )
    finished: dict[str, Any] = terminal("runs", "logs", submitted["id"], "--follow")
    return finished


@pytest.fixture(scope="module")
def deployed(terminal: Terminal, run: dict[str, Any]) -> dict[str, Any]:
    deployment: dict[str, Any] = terminal("deploy", run["id"], "--wait")
    return deployment


@pytest.fixture(scope="module")
def client(platform: dict[str, str], deployed: dict[str, Any]) -> Iterator[OpenAI]:
    with OpenAI(base_url=deployed["openai_base_url"], api_key=platform["api_key"]) as client:
        yield client


def test_up_again_prints_the_same_key(
    terminal: Terminal, platform: dict[str, str], ports: tuple[str, ...]
) -> None:
    assert terminal("up", "--detach", *ports) == platform
    credentials = terminal.work / "home" / "credentials.json"
    assert credentials.stat().st_mode & 0o777 == 0o600


def test_another_home_gets_its_own_key(
    terminal: Terminal, platform: dict[str, str], ports: tuple[str, ...]
) -> None:
    other = Terminal(
        terminal.work, {**terminal.environ, "FREESOLO_HOME": str(terminal.work / "other")}
    )
    ready = other("up", "--detach", "--data-dir", str(terminal.data_dir), *ports)
    assert ready["api_key"] != platform["api_key"]
    assert other("whoami")["org"] == "local"
    assert terminal("whoami")["org"] == "local"


def test_a_run_is_pinned_and_leaves_its_provenance(
    run: dict[str, Any], published: dict[str, str], terminal: Terminal
) -> None:
    assert (run["state"], run["step"]) == ("done", STEPS)
    assert run["environment"]["tree_digest"] == published["tree_digest"]
    assert run["adapter_revision"].startswith(f"{run['id']}@final.")
    checkpoints = terminal("runs", "checkpoints", run["id"])["checkpoints"]
    assert [item["step"] for item in checkpoints] == list(range(1, STEPS + 1))


def test_the_adapter_answers_through_the_stock_client(
    client: OpenAI, deployed: dict[str, Any], run: dict[str, Any]
) -> None:
    assert (deployed["state"], deployed["revision"]) == ("ready", run["adapter_revision"])
    served = {model.id for model in client.models.list()}
    assert {MODEL_ID, run["id"]} <= served

    def ask(model: str) -> str:
        answer = client.chat.completions.create(
            model=model,
            messages=[{"role": "user", "content": "Write this date as YYYY-MM-DD: 1 May 1990"}],
            max_tokens=12,
            temperature=0,
        )
        assert answer.usage
        assert answer.usage.completion_tokens
        return answer.choices[0].message.content or ""

    assert ask(run["id"]) != ask(MODEL_ID)
    with pytest.raises(NotFoundError):
        ask("run-0000000000")


def test_base_and_tuned_are_scored_on_the_held_out_suite(
    terminal: Terminal, deployed: dict[str, Any], run: dict[str, Any]
) -> None:
    for target in (MODEL_ID, run["id"]):
        report = terminal("eval", target, "local/dates", "--limit", "4", "--max-tokens", "8")
        (suite,) = report["suites"]
        assert (report["target"], suite["total"], suite["errors"]) == (target, 4, 0)
    tuned, base = terminal("results", "local/dates")["evaluations"]
    assert [base["target"], tuned["target"]] == [MODEL_ID, run["id"]]
    assert tuned["revision"] == deployed["revision"]


def test_everything_survives_a_kill_of_the_whole_platform(
    terminal: Terminal,
    platform: dict[str, str],
    ports: tuple[str, ...],
    published: dict[str, str],
    deployed: dict[str, Any],
) -> None:
    submitted = terminal(
        *("train", "dates/configs/sft.toml", "--background", "--set", f"model={MODEL_ID}"),
        *("--set", "train.max_steps=400", "--set", "train.save_every=5"),
        *("--set", "train.lora_rank=8"),
    )
    _await_checkpoint(terminal, submitted["id"])
    for process in terminal.processes():
        # Some end by themselves once the others are gone.
        with suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGKILL)
    assert terminal("up", "--detach", *ports) == platform
    assert terminal("pull", "local/dates", "-o", "again")["tree_digest"] == published["tree_digest"]
    assert terminal("deployments")["deployments"][0]["revision"] == deployed["revision"]
    resumed = _await_checkpoint(terminal, submitted["id"], attempt=2)
    first, *_, last = resumed
    assert first["attempt"] == 1
    assert last["step"] > first["step"]
    assert len({item["step"] for item in resumed}) == len(resumed)
    terminal("runs", "cancel", submitted["id"])


def test_down_leaves_no_process_behind(terminal: Terminal, platform: dict[str, str]) -> None:
    assert terminal("down")["stopped"]
    assert terminal.processes() == []
    assert not terminal("down")["stopped"]


def _await_checkpoint(terminal: Terminal, run_id: str, *, attempt: int = 1) -> list[dict[str, Any]]:
    """Return a run's checkpoints once this attempt has made one."""
    for _ in range(200):
        found: list[dict[str, Any]] = terminal("runs", "checkpoints", run_id)["checkpoints"]
        if any(item["attempt"] == attempt for item in found):
            return found
    pytest.fail(f"attempt {attempt} of {run_id} saved nothing")
