"""`init`: what it writes, and what it asks where somebody can answer."""

import os
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from freesolo.config import CredentialStore, Profile
from freesolo.package.templates import TEMPLATES
from tests.component.cli.conftest import Freesolo


def on_a_terminal(arguments: Sequence[str], answers: Sequence[tuple[str, str]]) -> str:
    """Run `freesolo init` on a terminal, answer each question once it is shown; return what was."""
    ours, theirs = os.openpty()
    command = [sys.executable, "-m", "freesolo", "init", *arguments]
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = b""
    for question, answer in answers:
        shown += read_until(ours, question.encode())
        os.write(ours, answer.encode() + b"\n")
    shown += read_until(ours, b"Next: ")
    os.close(ours)
    assert process.wait() == 0, shown
    return shown.decode()


def read_until(terminal: int, mark: bytes) -> bytes:
    """Return what a terminal shows up to `mark`, or to its end."""
    shown = b""
    # Linux answers with an error where the last program has left.
    with suppress(OSError):
        while mark not in shown and (chunk := os.read(terminal, 1024)):
            shown += chunk
    return shown


def environment_id(folder: str) -> str:
    config = tomllib.loads(Path(folder, "configs", "sft.toml").read_text())
    return str(config["environment"]["id"])


def test_a_terminal_is_asked_for_the_folder_and_the_template(freesolo: Freesolo) -> None:
    shown = on_a_terminal([], [("[my-task]: ", "game"), ("[1]: ", "multi-turn")])

    assert all(template.summary in shown for template in TEMPLATES)
    assert "NumberHunt" in Path("game/environment.py").read_text()


def test_a_folder_that_cannot_be_taken_is_asked_for_again(
    freesolo: Freesolo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    Path("full").mkdir()
    Path("full", "mine.txt").touch()
    folders = [("[my-task]: ", folder) for folder in ("my task", "full", "~/task")]

    shown = on_a_terminal(["--template", "code"], folders)

    assert "'my task' cannot name an environment." in shown
    assert "full is not an empty folder." in shown
    assert (tmp_path / "task" / "runner.py").exists()


def test_what_is_no_template_is_asked_for_again(freesolo: Freesolo) -> None:
    shown = on_a_terminal(["task"], [("[1]: ", "multi-trun"), ("[1]: ", "8"), ("[1]: ", "2")])

    assert "Did you mean `multi-turn`?" in shown
    assert "Orders" in Path("task/environment.py").read_text()


def test_what_is_given_is_not_asked_for(freesolo: Freesolo) -> None:
    shown = on_a_terminal(["task", "--template", "code"], [])

    assert "Template," not in shown
    assert Path("task/runner.py").exists()


def test_without_a_terminal_nothing_is_asked(freesolo: Freesolo) -> None:
    made = freesolo("init", "task", "--json")
    nowhere = freesolo("init", "--json")

    assert made.document["template"] == TEMPLATES[0].name
    assert nowhere.code == 2
    assert "FOLDER" in nowhere.error["message"]


def test_help_says_what_each_template_shows(freesolo: Freesolo) -> None:
    shown = freesolo("init", "--help").out

    assert all(f"{template.name} " in shown for template in TEMPLATES)
    assert all(template.summary in shown for template in TEMPLATES)


def test_configs_name_the_org_that_will_publish(
    freesolo: Freesolo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    freesolo("init", "nobody")
    CredentialStore(tmp_path / "home").save(Profile("http://hub", "fslo_key", org="acme"))
    freesolo("init", "logged-in")
    monkeypatch.setenv("FREESOLO_ORG", "umbrella")
    freesolo("init", "chosen")
    told = freesolo("init", "told", "--org", "initech", "--json")

    assert environment_id("nobody") == "local/nobody"
    assert environment_id("logged-in") == "acme/logged-in"
    assert environment_id("chosen") == "umbrella/chosen"
    assert environment_id("told") == "initech/told"
    assert told.document["org"] == "initech"


def test_an_org_of_no_possible_name_is_refused(freesolo: Freesolo) -> None:
    refusal = freesolo("init", "task", "--org", "no org", "--json")

    assert refusal.error["code"] == "invalid_ref"
    assert not Path("task").exists()
