"""Environments for tests, written to disk: what an author would write, and what they should not."""

from pathlib import Path
from textwrap import dedent

# An environment whose reward does what the answer says.
OBEDIENT = """
import json
import os
import subprocess
import sys
import time

from freesolo.environments import EnvironmentSingleTurn, RewardResult


class Obedient(EnvironmentSingleTurn):
    def __init__(self, params):
        self.params = params
        self.dataset = [{"input": f"question {i}", "output": f"answer {i}"} for i in range(3)]

    def build_prompt_messages(self, example, prompt_text):
        return [{"role": "user", "content": example.input}]

    def score_response(self, example, response_text):
        if response_text == "hang":
            time.sleep(3600)
        if response_text == "spin":
            while True:
                pass
        if response_text == "leave":
            os._exit(3)
        if response_text == "crash":
            print("last words", flush=True)
            os._exit(3)
        if response_text == "daemon":
            subprocess.Popen(
                ["sh", "-c", "(sleep 30; true) & exec true"], start_new_session=True
            ).wait()
            os._exit(3)
        if response_text == "raise":
            raise ValueError("no such thing")
        if response_text == "spawn":
            subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"])
            os._exit(3)
        if response_text == "print":
            print("x" * 100_000, flush=True)
            os.write(1, b"{\\"value\\": 9}\\n")
            sys.stderr.write("y" * 100_000)
        if response_text.startswith("return "):
            return RewardResult(eval(response_text.removeprefix("return ")))
        if response_text.startswith("import "):
            __import__(response_text.removeprefix("import "))
        return RewardResult(float(response_text == example.output))


def load_environment(**params):
    return Obedient(params)
"""

# A small environment without a fault.
SOUND = """
from freesolo.environments import EnvironmentSingleTurn, RewardResult


class Sums(EnvironmentSingleTurn):
    dataset = [{"input": f"{n} + 1", "output": str(n + 1)} for n in range(8)]

    def build_prompt_messages(self, example, prompt_text):
        return [{"role": "user", "content": example.input}]

    def score_response(self, example, response_text):
        return RewardResult(float(response_text.strip() == example.output))


def load_environment():
    return Sums()
"""

MANIFEST = """
[environment]
name = "example"
summary = "A task for tests."
license = "MIT"
"""


def write_environment(
    folder: Path, code: str, *, manifest: str | None = MANIFEST, **files: str
) -> Path:
    """Write an environment; `files` are further modules by name."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "environment.py").write_text(dedent(code))
    if manifest is not None:
        (folder / "environment.toml").write_text(dedent(manifest))
    for name, text in files.items():
        (folder / f"{name}.py").write_text(dedent(text))
    return folder
