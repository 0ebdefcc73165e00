"""`secrets`, and what `train` does about those that an environment declares."""

import io
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from sqlalchemy import select

from hub_server.models import ProjectSecret, RunSecret
from tests.component.cli.conftest import Freesolo
from tests.component.cli.consumers import Publish
from tests.factories import make_environment
from tests.hubs import LiveHub, resources_of

VALUE = "judge-me-not"
CONFIG = """
model = "HuggingFaceTB/SmolLM2-135M-Instruct"
[environment]
id = "local/judged"
"""


@pytest.fixture
def judged(publish: Publish, with_hub: LiveHub, tmp_path: Path) -> LiveHub:
    """A hub with an environment that declares two secrets, and a config beside us."""
    folder = make_environment(tmp_path / "judged", name="judged")
    with (folder / "environment.toml").open("a") as manifest:
        manifest.write('secrets = ["JUDGE_API_KEY", "SEARCH_API_KEY"]\n')
    publish(folder)
    Path("sft.toml").write_text(CONFIG)
    return with_hub


def type_in(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    """Put bytes on standard input."""
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))


def stored(hub: LiveHub) -> dict[str, str]:
    """Return what the hub has stored for projects."""
    resources = resources_of(hub.app)
    with resources.readers() as session:
        secrets = session.scalars(select(ProjectSecret)).all()
    return {secret.name: resources.vault.decrypt(secret.ciphertext) for secret in secrets}


def handed_in(hub: LiveHub) -> dict[str, str | None]:
    """Return what was handed in with runs; None is what comes from the project."""
    resources = resources_of(hub.app)
    with resources.readers() as session:
        secrets = session.scalars(select(RunSecret)).all()
    return {
        secret.name: resources.vault.decrypt(secret.ciphertext) if secret.ciphertext else None
        for secret in secrets
    }


@pytest.mark.parametrize("line_end", [b"", b"\n", b"\r\n"])
def test_a_secret_is_read_from_standard_input(
    freesolo: Freesolo, with_hub: LiveHub, monkeypatch: pytest.MonkeyPatch, line_end: bytes
) -> None:
    type_in(monkeypatch, VALUE.encode() + line_end)
    result = freesolo("secrets", "set", "JUDGE_API_KEY", "--json")
    assert (result.code, result.document["name"]) == (0, "JUDGE_API_KEY")
    assert stored(with_hub) == {"JUDGE_API_KEY": VALUE}
    listed = freesolo("secrets", "list", "--json")
    assert listed.document == {"secrets": [result.document]}
    assert VALUE not in result.out + result.err + listed.out


def test_a_secret_of_several_lines_keeps_all_but_the_last_line_end(
    freesolo: Freesolo, with_hub: LiveHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    type_in(monkeypatch, b"-----BEGIN-----\nabc\n\n")
    assert freesolo("secrets", "set", "PEM").code == 0
    assert stored(with_hub) == {"PEM": "-----BEGIN-----\nabc\n"}


def read_until(terminal: int, mark: bytes) -> bytes:
    """Return what a terminal shows up to `mark`, or to its end."""
    shown = b""
    # Linux answers with an error where the last program has left.
    with suppress(OSError):
        while mark not in shown and (chunk := os.read(terminal, 1024)):
            shown += chunk
    return shown


def test_a_secret_is_asked_for_on_a_terminal_and_not_shown(
    freesolo: Freesolo, with_hub: LiveHub
) -> None:
    ours, theirs = os.openpty()
    command = [sys.executable, "-m", "freesolo", "secrets", "set", "JUDGE_API_KEY"]
    # Also as the terminal that the session belongs to, which is where a prompt is made.
    process = subprocess.Popen(
        ["setsid", "--ctty", "--wait", *command], stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    assert b"JUDGE_API_KEY:" in read_until(ours, b"JUDGE_API_KEY:")
    os.write(ours, VALUE.encode() + b"\n")
    shown = read_until(ours, b"nothing stops this")
    os.close(ours)
    assert process.wait() == 0
    assert b"is stored" in shown
    assert VALUE.encode() not in shown
    assert stored(with_hub) == {"JUDGE_API_KEY": VALUE}


def test_a_secret_is_taken_from_the_shell_when_asked_for(
    freesolo: Freesolo, with_hub: LiveHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUDGE_API_KEY", VALUE)
    assert freesolo("secrets", "set", "JUDGE_API_KEY", "--from-env").code == 0
    assert stored(with_hub) == {"JUDGE_API_KEY": VALUE}


def test_what_the_shell_does_not_have_is_missing(freesolo: Freesolo, with_hub: LiveHub) -> None:
    refusal = freesolo("secrets", "set", "JUDGE_API_KEY", "--from-env", "--json")
    assert (refusal.code, refusal.error["code"]) == (2, "invalid_secret_missing")


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe", b"a\0b", b"x" * 20_000])
def test_a_value_that_no_secret_can_have_is_refused(
    freesolo: Freesolo, with_hub: LiveHub, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    type_in(monkeypatch, content)
    refusal = freesolo("secrets", "set", "JUDGE_API_KEY", "--json")
    assert (refusal.code, refusal.error["code"]) == (2, "invalid_secret")
    assert stored(with_hub) == {}


@pytest.mark.parametrize("name", [f"JUDGE_API_KEY={VALUE}", VALUE, "PATH", "FREESOLO_API_KEY"])
@pytest.mark.parametrize("command", ["set", "rm"])
def test_a_name_that_no_secret_can_have_is_not_sent_and_not_repeated(
    freesolo: Freesolo, with_hub: LiveHub, command: str, name: str
) -> None:
    refusal = freesolo("secrets", command, name, "--json")
    assert (refusal.code, refusal.error["code"]) == (2, "invalid_secret")
    assert VALUE not in refusal.err


def test_a_value_is_no_argument(freesolo: Freesolo, with_hub: LiveHub) -> None:
    assert freesolo("secrets", "set", "JUDGE_API_KEY", VALUE).code == 2
    assert stored(with_hub) == {}


def test_a_removed_secret_is_gone(
    freesolo: Freesolo, with_hub: LiveHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    type_in(monkeypatch, VALUE.encode())
    freesolo("secrets", "set", "JUDGE_API_KEY")
    assert freesolo("secrets", "rm", "JUDGE_API_KEY").code == 2, "nobody is there to say yes"
    assert freesolo("secrets", "rm", "JUDGE_API_KEY", "--yes").code == 0
    assert freesolo("secrets", "list", "--json").document == {"secrets": []}
    again = freesolo("secrets", "rm", "JUDGE_API_KEY", "--yes", "--json")
    assert (again.code, again.error["code"]) == (3, "secret_not_found")


def test_a_project_is_named_by_its_slug_or_id(
    freesolo: Freesolo, with_hub: LiveHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = freesolo("projects", "create", "refunds", "--json").document
    type_in(monkeypatch, VALUE.encode())
    assert freesolo("secrets", "set", "JUDGE_API_KEY", "--project", "refunds").code == 0
    by_id = freesolo("secrets", "list", "--project", project["id"], "--json").document
    assert [secret["name"] for secret in by_id["secrets"]] == ["JUDGE_API_KEY"]
    assert freesolo("secrets", "list", "--json").document == {"secrets": []}
    unknown = freesolo("secrets", "list", "--project", "refund", "--json")
    assert (unknown.code, unknown.error["code"]) == (3, "project_not_found")
    assert "refunds" in unknown.error["hint"]


# At submit


@pytest.mark.parametrize("mode", ["--dry-run", "--background"])
def test_a_submit_names_every_missing_secret_and_the_ways_to_give_it(
    freesolo: Freesolo, judged: LiveHub, mode: str
) -> None:
    refusal = freesolo("train", "sft.toml", mode, "--json")
    assert (refusal.code, refusal.error["code"]) == (2, "invalid_secret_missing")
    assert "JUDGE_API_KEY, SEARCH_API_KEY" in refusal.error["message"]
    for way in ("freesolo secrets set", "the shell", ".env.local", ".env"):
        assert way in refusal.error["hint"]
    assert freesolo("runs", "list", "--json").document == {"runs": []}


def test_a_submit_hands_in_what_is_here_and_leaves_the_rest_to_the_project(
    freesolo: Freesolo, judged: LiveHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path(".env").write_text(f"JUDGE_API_KEY={VALUE}\nUNDECLARED_KEY=x\n")
    type_in(monkeypatch, b"of the project")
    freesolo("secrets", "set", "SEARCH_API_KEY")
    planned = freesolo("train", "sft.toml", "--dry-run")
    assert (planned.code, handed_in(judged)) == (0, {})
    assert "from .env\n" in planned.out
    assert "from the project's stored secrets" in planned.out
    run = freesolo("train", "sft.toml", "--background")
    assert run.code == 0
    assert "gets JUDGE_API_KEY from .env." in run.err
    assert handed_in(judged) == {"JUDGE_API_KEY": VALUE, "SEARCH_API_KEY": None}
    assert VALUE not in planned.out + planned.err + run.out + run.err


def test_a_submit_hands_in_what_the_config_names(
    freesolo: Freesolo, judged: LiveHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("JUDGE_API_KEY", "SEARCH_API_KEY", "EXTRA_KEY"):
        monkeypatch.setenv(name, VALUE)
    extra = ("--set", 'environment.secrets=["EXTRA_KEY"]')
    assert freesolo("train", "sft.toml", *extra, "--background").code == 0
    assert set(handed_in(judged)) == {"JUDGE_API_KEY", "SEARCH_API_KEY", "EXTRA_KEY"}


def test_a_platform_key_is_never_a_secret_of_a_config(freesolo: Freesolo, judged: LiveHub) -> None:
    extra = ("--set", 'environment.secrets=["FREESOLO_API_KEY"]')
    refusal = freesolo("train", "sft.toml", *extra, "--dry-run", "--json")
    assert (refusal.code, refusal.error["code"]) == (2, "invalid_train_spec")
    assert "variable of the platform" in refusal.error["message"]


# Where an environment's code runs on this machine


NEEDY = f"""
import os

from freesolo.environments import EnvironmentSingleTurn, RewardResult


class Needy(EnvironmentSingleTurn):
    dataset = [{{"input": "Do you agree?", "output": "yes"}}]

    def build_prompt_messages(self, example, prompt_text):
        return [{{"role": "user", "content": example.input}}]

    def score_response(self, example, response):
        return RewardResult(float(response == example.output))


def load_environment():
    assert os.environ["JUDGE_API_KEY"] == "{VALUE}"
    return Needy()
"""


@pytest.fixture
def needy(freesolo: Freesolo, tmp_path: Path) -> Path:
    """The folder of an environment that does not load without its secret."""
    folder = make_environment(tmp_path / "needy", name="needy", source=NEEDY)
    with (folder / "environment.toml").open("a") as manifest:
        manifest.write('secrets = ["JUDGE_API_KEY"]\n')
    return folder


def test_install_gives_an_environment_what_it_declares_and_says_so(
    freesolo: Freesolo, publish: Publish, needy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(needy)
    assert freesolo("install", "local/needy").code == 7
    monkeypatch.setenv("JUDGE_API_KEY", VALUE)
    installed = freesolo("install", "local/needy")
    assert installed.code == 0
    assert "gets JUDGE_API_KEY from the shell." in installed.err
    assert VALUE not in installed.out + installed.err


def test_validate_finds_that_a_secret_is_missing_and_runs_nothing(
    freesolo: Freesolo, needy: Path
) -> None:
    checked = freesolo("validate", needy, "--json")
    assert checked.code == 2
    errors = [found for found in checked.document["findings"] if found["severity"] == "error"]
    assert [error["code"] for error in errors] == ["secret_missing"]
    assert "JUDGE_API_KEY" in errors[0]["message"]


def test_validate_gives_an_environment_what_it_declares(freesolo: Freesolo, needy: Path) -> None:
    Path(".env.local").write_text(f"JUDGE_API_KEY={VALUE}\n")
    checked = freesolo("validate", needy, "--json")
    assert checked.document["ok"], checked.out
    assert VALUE not in checked.out + checked.err
