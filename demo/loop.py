"""The loop: up, init, validate, publish, train, deploy, eval, chat, each by its public door."""

import json
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from openai import DefaultHttpxClient, OpenAI
from rich.console import Console

BASE_MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
TASK = "dates"
SUITE = "heldout"
# A date takes about ten tokens; a model that talks instead is cut off here.
MAX_TOKENS = 24
# Practice goes on from where imitation was after so many steps: right now and then, and often not.
IMITATED_STEPS = 5
PRACTISED_STEPS = 30

console = Console(stderr=True, highlight=False)


class StepFailed(Exception):
    """A command of the loop did not succeed; its own words are on the terminal already."""


@dataclass
class Loop:
    """One walk through the loop: the commands' environment, their results and how long they took."""

    environ: Mapping[str, str]
    work: Path
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Announce a phase and take its time."""
        console.rule(f"[bold]{name}", align="left")
        begin = time.monotonic()
        yield
        self.seconds[name] = round(time.monotonic() - begin, 1)
        console.print(f"[dim]{name}: {self.seconds[name]} s")

    def freesolo(self, *arguments: str) -> dict[str, Any]:
        """Run a command of the public command line and return the document it prints."""
        console.print(f"[cyan]$ freesolo {' '.join(arguments)}")
        result = subprocess.run(
            [sys.executable, "-m", "freesolo", *arguments, "--json"],
            env=dict(self.environ),
            cwd=self.work,
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        if result.returncode != 0:
            console.print(result.stdout, markup=False)
            raise StepFailed(f"`freesolo {arguments[0]}` ended with {result.returncode}")
        document: dict[str, Any] = json.loads(result.stdout)
        return document


def walk(environ: Mapping[str, str], cache_dir: Path) -> dict[str, Any]:
    """Run the loop on a platform of its own and return what it showed; the platform is gone after."""
    with tempfile.TemporaryDirectory(prefix="freesolo-demo-") as scratch:
        work = Path(scratch)
        loop = Loop(
            environ={
                **environ,
                "FREESOLO_HOME": str(work / "home"),
                "FREESOLO_CACHE_DIR": str(cache_dir),
            },
            work=work,
        )
        try:
            return _steps(loop)
        except BaseException:
            _show_logs(work / "data" / "logs")
            raise
        finally:
            # Nothing may be left running, whatever went wrong before.
            with suppress(StepFailed):
                loop.freesolo("down", "--data-dir", str(work / "data"))


def _steps(loop: Loop) -> dict[str, Any]:
    with loop.phase("up"):
        hub_port, gateway_port = _free_ports(2)
        platform = loop.freesolo(
            *("up", "--detach", "--data-dir", str(loop.work / "data")),
            *("--hub-port", str(hub_port), "--gateway-port", str(gateway_port)),
        )
    with loop.phase("init"):
        loop.freesolo("init", TASK, "--template", "single-turn")
    with loop.phase("validate"):
        loop.freesolo("validate", TASK)
    with loop.phase("publish"):
        published = loop.freesolo("publish", TASK)
    with loop.phase("train"):
        saved = f"train.save_at_steps=[{IMITATED_STEPS}]"
        run = loop.freesolo("train", f"{TASK}/configs/sft.toml", "--set", saved)
    with loop.phase("deploy"):
        deployed = loop.freesolo("deploy", run["id"], "--wait")
    with loop.phase("eval base"):
        base = _evaluate(loop, BASE_MODEL)
    with loop.phase("eval tuned"):
        tuned = _evaluate(loop, run["id"])
    with loop.phase("chat"):
        question = tuned["cases"][0]["prompt"]
        chat = _chat(deployed["openai_base_url"], platform["api_key"], run["id"], question)
    # It deploys an earlier step under the run's name, so it comes last.
    practice = _practise(loop, run["id"])
    return {
        "environment": {
            "ref": published["ref"],
            "version": published["version"],
            "tree_digest": published["tree_digest"],
        },
        "run": {"id": run["id"], "model": BASE_MODEL},
        "adapter": {"revision": deployed["revision"]},
        "train": {
            "steps": run["step"],
            "tokens_per_second": round(run["metrics"]["tokens_per_s"], 1),
            "loss": run["metrics"]["loss"],
        },
        "practice": practice,
        "base": _score(base),
        "tuned": _score(tuned),
        "samples": _samples(base, tuned),
        "chat": chat,
        "seconds": {**loop.seconds, "total": round(sum(loop.seconds.values()), 1)},
    }


def _practise(loop: Loop, imitated: str) -> dict[str, Any]:
    """Go on from an early checkpoint of a run by GRPO; return the curve, and scores before and after."""
    start = f"{imitated}/step-{IMITATED_STEPS}"
    with loop.phase("practise"):
        run = loop.freesolo(
            *("train", f"{TASK}/configs/grpo.toml"),
            *("--set", f"train.init_from_adapter={start}"),
            *("--set", f"train.max_steps={PRACTISED_STEPS}"),
        )
        curve = loop.freesolo("runs", "metrics", run["id"])["steps"]
    with loop.phase("deploy practised"):
        loop.freesolo("deploy", start, "--wait")
        loop.freesolo("deploy", run["id"], "--wait")
    with loop.phase("eval before practice"):
        before = _evaluate(loop, start)
    with loop.phase("eval after practice"):
        after = _evaluate(loop, run["id"])
    return {
        "run": run["id"],
        "from": start,
        "steps": run["step"],
        "rewards": [step["reward"] for step in curve],
        "before": _score(before),
        "after": _score(after),
    }


def _evaluate(loop: Loop, target: str) -> dict[str, Any]:
    document = loop.freesolo("eval", target, TASK, "--max-tokens", str(MAX_TOKENS))
    suite: dict[str, Any] = next(item for item in document["suites"] if item["name"] == SUITE)
    return suite


def _score(suite: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "correct": suite["passed"],
        "total": suite["total"],
        "errors": suite["errors"],
        "interval": suite["interval"],
    }


def _samples(base: Mapping[str, Any], tuned: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "prompt": before["prompt"],
            "expected": before["expected"],
            "base": before["answer"],
            "tuned": after["answer"],
        }
        for before, after in zip(base["cases"][:5], tuned["cases"][:5], strict=True)
    ]


def _chat(base_url: str, api_key: str, tuned_model: str, question: str) -> dict[str, Any]:
    """Ask base and tuned the same, with the stock OpenAI client and nothing of ours."""
    # A proxy of the caller's cannot reach this machine's loopback.
    direct = DefaultHttpxClient(trust_env=False)
    client = OpenAI(base_url=base_url, api_key=api_key, http_client=direct)

    def ask(model: str) -> str:
        answer = client.chat.completions.create(
            model=model,
            messages=[{"role": "user", "content": question}],
            max_tokens=MAX_TOKENS,
            temperature=0,
        )
        return answer.choices[0].message.content or ""

    said = {"question": question, "base": ask(BASE_MODEL), "tuned": ask(tuned_model)}
    for name, text in said.items():
        console.print(f"{name}: {text}", markup=False)
    return said


def _free_ports(count: int) -> list[int]:
    """Return ports that nothing listens on now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for item in sockets:
            item.bind(("127.0.0.1", 0))
        return [int(item.getsockname()[1]) for item in sockets]
    finally:
        for item in sockets:
            item.close()


def _show_logs(folder: Path) -> None:
    for log in sorted(folder.glob("*.log")):
        console.rule(f"the end of {log.name}", align="left")
        console.print("\n".join(log.read_text(errors="replace").splitlines()[-15:]), markup=False)
