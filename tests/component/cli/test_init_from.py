"""`init --from`: environments out of what other libraries know."""

import tomllib
from pathlib import Path

import pytest

from tests.component.cli.conftest import Freesolo

CODE = "def load_environment():\n    ...\n"


def manifest(folder: str) -> dict[str, object]:
    table = tomllib.loads(Path(folder, "environment.toml").read_text())["environment"]
    assert isinstance(table, dict)
    return table


def test_a_file_is_taken_along(freesolo: Freesolo) -> None:
    Path("my_env.py").write_text(CODE)

    made = freesolo("init", "task", "--from", "verifiers:my_env.py", "--json")

    assert made.code == 0
    assert (made.document["template"], made.document["from"]) == (None, "verifiers:my_env.py")
    assert Path("task/source/my_env.py").read_text() == CODE
    assert 'MODULE = "my_env"' in Path("task/environment.py").read_text()
    assert manifest("task")["dependencies"] == ["verifiers>=0.3,<0.4"]


def test_a_folder_is_taken_along_with_what_it_depends_on(freesolo: Freesolo) -> None:
    Path("project/my_env").mkdir(parents=True)
    Path("project/my_env/__init__.py").write_text(CODE)
    Path("project/.env").write_text("KEY=1")
    Path("project/pyproject.toml").write_text(
        '[project]\nname = "my-env"\ndependencies = ["six>=1; python_version > \'3\'"]\n'
    )

    freesolo("init", "task", "--from", "verifiers:./project")

    assert Path("task/source/my_env/__init__.py").exists()
    assert not Path("task/source/.env").exists()
    assert manifest("task")["dependencies"] == [
        *("six>=1; python_version > '3'", "verifiers>=0.3,<0.4")
    ]


def test_a_distribution_becomes_a_dependency(freesolo: Freesolo) -> None:
    freesolo("init", "named", "--from", "verifiers:my-env==0.2")
    freesolo("init", "with-module", "--from", "verifiers:my-env[all]:my.module")

    assert 'MODULE = "my_env"' in Path("named/environment.py").read_text()
    assert manifest("named")["dependencies"] == ["my-env==0.2", "verifiers>=0.3,<0.4"]
    assert 'MODULE = "my.module"' in Path("with-module/environment.py").read_text()


@pytest.mark.parametrize(
    ("origin", "code", "said"),
    [
        ("reasoning_gym:sums", "invalid_input", "Did you mean `reasoning-gym`?"),
        ("gym:sums", "invalid_input", "There are: reasoning-gym, verifiers."),
        ("verifiers:", "invalid_input", "reasoning-gym:TASK or verifiers:ENVIRONMENT"),
        ("verifiers:no such", "invalid_input", "names no environment"),
        ("verifiers:./nowhere", "task_not_found", "There is no file or folder nowhere"),
        ("verifiers:./empty", "task_not_found", "has no module empty"),
    ],
)
def test_what_names_nothing_is_refused_with_a_way_out(
    freesolo: Freesolo, origin: str, code: str, said: str
) -> None:
    Path("empty").mkdir()

    refusal = freesolo("init", "task", "--from", origin, "--json")

    assert refusal.error["code"] == code
    assert said in f"{refusal.error['message']} {refusal.error['hint']}"
    assert not Path("task").exists()


def test_a_template_and_another_library_are_too_much(freesolo: Freesolo) -> None:
    refusal = freesolo("init", "task", "--template", "code", "--from", "verifiers:x", "--json")

    assert refusal.code == 2
    assert "not from both" in refusal.error["message"]
