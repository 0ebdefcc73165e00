import importlib.metadata
import os
import platform
import socket
from pathlib import Path

import psutil
import pytest

from freesolo.errors import EnvironmentFailed, InvalidSecret, Unavailable
from freesolo.runtime.client import HostOptions, SandboxMode, open_host
from freesolo.runtime.sandbox import Sandbox, bubblewrap_works, choose_sandbox
from freesolo.runtime.venvs import ensure_contract, ensure_venv
from tests.component.runtime.conftest import OpenHost
from tests.environment_folders import OBEDIENT, write_environment


@pytest.mark.parametrize("module", ["pydantic", "torch", "httpx", "freesolo.errors"])
def test_nothing_that_the_platform_has_installed_can_be_imported(
    host_of: OpenHost, module: str
) -> None:
    host = host_of(OBEDIENT)

    (score,) = host.score_responses(host.examples()[0], [f"import {module}"])

    assert "ModuleNotFoundError" in str(score.error)


def test_an_environment_gets_its_own_dependencies(host_of: OpenHost, sandbox: SandboxMode) -> None:
    manifest = '[environment]\nname = "example"\ndependencies = ["six==1.17.0"]\n'

    host = host_of(f"import six\n{OBEDIENT}", manifest=manifest, sandbox=sandbox)

    scores = host.score_responses(host.examples()[0], ["import six", "import pydantic"])
    assert [score.reward for score in scores] == [0.0, None]


def test_dependencies_may_conflict_with_the_platforms_own(
    host_of: OpenHost, sandbox: SandboxMode
) -> None:
    assert importlib.metadata.version("click").startswith("8.")
    manifest = '[environment]\nname = "example"\ndependencies = ["click==7.1.2"]\n'

    host = host_of(f"import click\n{OBEDIENT}", manifest=manifest, sandbox=sandbox)

    version = "return float(click.__version__.split('.')[0])"
    assert host.score_responses(host.examples()[0], [version])[0].reward == 7.0


def test_requirements_are_added_for_an_environment_without_a_manifest(host_of: OpenHost) -> None:
    host = host_of(f"import six\n{OBEDIENT}", requirements=["six==1.17.0"])

    assert len(host.examples()) == 3


def test_a_host_tells_which_packages_were_chosen_for_its_environment(host_of: OpenHost) -> None:
    host = host_of(f"import six\n{OBEDIENT}", requirements=["Six>=1.17"])

    installed = host.installed()

    assert dict(installed.packages) == {"six": "1.17.0"}
    assert installed.python == platform.python_version()


def test_dependencies_that_do_not_exist_are_the_authors_fault(cache_dir: Path) -> None:
    with pytest.raises(EnvironmentFailed, match="cannot be installed"):
        ensure_venv(cache_dir, ["six==0.0.0.1"])


def test_a_virtual_environment_is_built_once_whatever_the_order(cache_dir: Path) -> None:
    first = ensure_venv(cache_dir, ["six==1.17.0"])

    assert ensure_venv(cache_dir, ["six==1.17.0", "six==1.17.0"]) == first


def test_an_interpreter_that_the_environment_refuses_is_not_used(cache_dir: Path) -> None:
    with pytest.raises(Unavailable, match="for Python '>=99' cannot be made") as failure:
        ensure_venv(cache_dir, [], requires_python=">=99")

    assert "requires-python" in str(failure.value.hint)


def test_the_contract_holds_only_what_an_environment_may_import(cache_dir: Path) -> None:
    package = ensure_contract(cache_dir) / "freesolo"

    assert {path.name for path in package.iterdir()} - {"__pycache__"} == {
        "__init__.py",
        "contracts.py",
        "datasets",
        "environments",
        "openai_client.py",
        "runtime",
    }


def test_only_what_is_handed_in_is_visible(
    host_of: OpenHost, sandbox: SandboxMode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTHER_API_KEY", "1")
    manifest = '[environment]\nname = "example"\nsecrets = ["JUDGE_API_KEY"]\n'
    host = host_of(
        OBEDIENT,
        manifest=manifest,
        sandbox=sandbox,
        secrets={"JUDGE_API_KEY": "1"},
    )

    judge, other, variables = host.score_responses(
        host.examples()[0],
        [
            "return float(os.environ.get('JUDGE_API_KEY', 0))",
            "return float(os.environ.get('OTHER_API_KEY', 0))",
            "return len(set(os.environ) - {'PATH', 'HOME', 'TMPDIR', 'LANG', 'PWD', 'LC_CTYPE'})",
        ],
    )

    assert (judge.reward, other.reward) == (1.0, 0.0)
    assert variables.reward == 1.0


def test_a_variable_of_the_platform_is_never_handed_in(host_of: OpenHost) -> None:
    with pytest.raises(InvalidSecret, match="variable of the platform"):
        host_of(OBEDIENT, secrets={"FREESOLO_API_KEY": "fslo_"})


def test_the_environments_own_folder_can_be_read(host_of: OpenHost, sandbox: SandboxMode) -> None:
    host = host_of(OBEDIENT, sandbox=sandbox)

    (score,) = host.score_responses(
        host.examples()[0], ["return float('Obedient' in open('environment.py').read())"]
    )

    assert score.reward == 1.0


@pytest.mark.parametrize(
    "attempt",
    [
        "open('written', 'w')",
        "open('/usr/written', 'w')",
        "open('/written', 'w')",
        "open('/dev/written', 'w')",
        "open('/etc/shadow')",
        "os.listdir('/home')",
        "os.kill({pid}, 0)",
        "__import__('socket').create_connection(('127.0.0.1', {port}), 5)",
    ],
)
def test_inside_bubblewrap_the_rest_of_the_machine_is_out_of_reach(
    host_of: OpenHost, has_bubblewrap: bool, attempt: str
) -> None:
    if not has_bubblewrap:
        pytest.skip("bubblewrap does not work here")
    host = host_of(OBEDIENT, sandbox=SandboxMode.REQUIRED)
    with socket.create_server(("127.0.0.1", 0)) as server:
        action = attempt.format(pid=os.getpid(), port=server.getsockname()[1])

        (score,) = host.score_responses(host.examples()[0], [f"return {action}"])

    assert score.error is not None
    assert any(
        refusal in score.error.message
        for refusal in (
            "OSError",
            "PermissionError",
            "FileNotFoundError",
            "ProcessLookupError",
            "ConnectionRefusedError",
        )
    )


def test_inside_bubblewrap_there_is_a_bounded_place_for_scratch_files_and_semaphores(
    host_of: OpenHost, has_bubblewrap: bool
) -> None:
    if not has_bubblewrap:
        pytest.skip("bubblewrap does not work here")
    host = host_of(OBEDIENT, sandbox=SandboxMode.REQUIRED)
    size = "os.statvfs({path!r}).f_blocks * os.statvfs({path!r}).f_frsize"

    scores = host.score_responses(
        host.examples()[0],
        [
            "return open('/tmp/written', 'w').write('x')",
            "return int(__import__('multiprocessing').Semaphore(1).acquire())",
            f"return {size.format(path='/tmp')}",
            f"return {size.format(path='/dev/shm')}",
        ],
    )

    assert [score.reward for score in scores] == [1.0, 1.0, 2.0**30, 2.0**30]


def test_a_manifest_may_ask_for_the_network(host_of: OpenHost, sandbox: SandboxMode) -> None:
    manifest = '[environment]\nname = "example"\nnetwork = true\n'
    host = host_of(OBEDIENT, sandbox=sandbox, manifest=manifest)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        connect = f"__import__('socket').create_connection(('127.0.0.1', {port}), 5).fileno()"

        (score,) = host.score_responses(host.examples()[0], [f"return {connect}"])

    assert score.reward is not None
    assert "no-network" not in host.layers


def test_a_host_says_which_layers_are_on(host_of: OpenHost, has_bubblewrap: bool) -> None:
    host = host_of(OBEDIENT, sandbox=SandboxMode.AUTO)

    assert "resource-limits" in host.layers
    assert ("no-network" in host.layers) is has_bubblewrap


def test_memory_is_bounded(host_of: OpenHost) -> None:
    host = host_of(OBEDIENT)

    (score,) = host.score_responses(host.examples()[0], ["return len(bytearray(2**40))"])

    assert "MemoryError" in str(score.error)


def test_a_bubblewrap_that_cannot_start_anything_does_not_count(tmp_path: Path) -> None:
    broken = tmp_path / "bwrap"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)

    assert not bubblewrap_works(str(broken))
    assert not bubblewrap_works(str(tmp_path / "missing"))


def test_without_a_sandbox_only_the_base_layers_are_on() -> None:
    sandbox = choose_sandbox(SandboxMode.OFF, network=False)

    assert sandbox == Sandbox(bubblewrap=None, network=False)
    assert sandbox.layers == ("own-session", "clean-environment", "resource-limits")


def test_a_required_sandbox_that_is_missing_is_refused(
    tmp_path: Path, cache_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    folder = write_environment(tmp_path / "environment", OBEDIENT)

    with pytest.raises(Unavailable, match="bubblewrap is not installed"):
        open_host(folder, HostOptions(cache_dir, sandbox=SandboxMode.REQUIRED))


def test_a_secret_that_the_author_shows_is_masked(host_of: OpenHost, sandbox: SandboxMode) -> None:
    secret = "sk-very-secret-0815"
    manifest = '[environment]\nname = "example"\nsecrets = ["KEY"]\n'
    shown = "os.environ['KEY']"
    host = host_of(
        OBEDIENT.replace('print("last words"', f"print({shown}"),
        manifest=manifest,
        sandbox=sandbox,
        secrets={"KEY": secret},
    )

    scores = host.score_responses(
        host.examples()[0], [f"return {{}}[{shown}]", f"return {shown}", "crash"]
    )

    for score in scores:
        assert score.error is not None
        told = f"{score.error} {score.error.traceback}"
        assert "****" in told
        assert secret not in told


def test_a_secret_is_on_no_command_line(host_of: OpenHost, sandbox: SandboxMode) -> None:
    manifest = '[environment]\nname = "example"\nsecrets = ["KEY"]\n'
    host_of(OBEDIENT, manifest=manifest, sandbox=sandbox, secrets={"KEY": "sk-very-secret-0816"})

    commands = [process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"])]

    assert not any("sk-very-secret-0816" in word for command in commands for word in command)
