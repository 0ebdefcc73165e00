"""What an environment stands on: the environments it builds on, and exact Python packages."""

from pathlib import Path

import pytest

from freesolo.domain.manifest import Manifest
from freesolo.errors import EnvironmentFailed
from freesolo.runtime.client import Foundation, SandboxMode, needs_of
from freesolo.runtime.venvs import compile_pylock, ensure_venv
from tests.component.runtime.conftest import OpenHost
from tests.environment_folders import SOUND, write_environment

BUILDS_ON_SUMS = """
import fsenv_acme_sums
from fsenv_acme_sums.files.marks import full
from freesolo.environments import EnvironmentSingleTurn, RewardResult

base = fsenv_acme_sums.load_environment()


class More(EnvironmentSingleTurn):
    dataset = base.dataset[:2]

    def build_prompt_messages(self, example, prompt_text):
        return base.build_prompt_messages(example, prompt_text)

    def score_response(self, example, response_text):
        return RewardResult(full() * base.score_response(example, response_text).score)


def load_environment():
    assert (fsenv_acme_sums.FOLDER / "environment.py").is_file()
    return More()
"""


@pytest.fixture
def sums(tmp_path: Path) -> Path:
    manifest = '[environment]\nname = "sums"\nrequires-python = ">=3.10"\ndependencies = ["six"]\n'
    return write_environment(
        tmp_path / "sums", SOUND, manifest=manifest, marks="def full():\n    return 0.5\n"
    )


def test_the_environments_it_builds_on_can_be_imported(
    host_of: OpenHost, sums: Path, sandbox: SandboxMode
) -> None:
    foundation = Foundation(modules={"fsenv_acme_sums": sums})

    host = host_of(BUILDS_ON_SUMS, sandbox=sandbox, foundation=foundation)

    first = host.examples()[0]
    assert [score.reward for score in host.score_responses(first, ["1", "2"])] == [0.5, 0.0]


def test_they_are_there_again_after_the_process_was_lost(host_of: OpenHost, sums: Path) -> None:
    leave = "__import__('os')._exit(3) if response_text == 'leave' else full()"
    host = host_of(
        BUILDS_ON_SUMS.replace("full() *", f"({leave}) *"),
        foundation=Foundation(modules={"fsenv_acme_sums": sums}),
    )
    first = host.examples()[0]

    (lost,) = host.score_responses(first, ["leave"])

    assert lost.error is not None
    assert host.score_responses(first, ["1"])[0].reward == 0.5


def test_without_them_the_import_fails_in_the_authors_own_words(host_of: OpenHost) -> None:
    with pytest.raises(EnvironmentFailed, match="No module named 'fsenv_acme_sums'"):
        host_of(BUILDS_ON_SUMS)


def test_all_of_them_together_need_what_each_needs(sums: Path, tmp_path: Path) -> None:
    folder = write_environment(tmp_path / "plain", SOUND)

    needs = needs_of(folder, sums)

    assert needs.requirements == ("six",)
    assert needs.python == ",".join(sorted([">=3.10", Manifest(name="x").requires_python]))


def test_a_pylock_decides_over_what_the_manifest_asks_for(
    host_of: OpenHost, tmp_path: Path
) -> None:
    pylock = tmp_path / "pylock.toml"
    pylock.write_text(compile_pylock(["six==1.16.0"], requires_python=">=3.11"))
    code = SOUND.replace(
        "def load_environment():",
        "import six\nassert six.__version__ == '1.16.0'\n\n\ndef load_environment():",
    )
    manifest = '[environment]\nname = "x"\ndependencies = ["six>=1.17"]\n'

    assert host_of(code, manifest=manifest, foundation=Foundation(pylock=pylock)).examples()


def test_a_pylock_keeps_what_an_earlier_one_held() -> None:
    earlier = compile_pylock(["six<1.17"], requires_python=">=3.11")

    kept = compile_pylock(["six"], requires_python=">=3.11", earlier=earlier)
    fresh = compile_pylock(["six"], requires_python=">=3.11")

    assert kept == earlier
    assert 'version = "1.16.0"' in kept
    assert 'version = "1.16.0"' not in fresh


def test_a_package_that_is_not_what_the_pylock_pins_is_not_installed(
    cache_dir: Path, tmp_path: Path
) -> None:
    text = compile_pylock(["six==1.16.0"], requires_python=">=3.11")
    digest = text.split('sha256 = "')[1][:64]
    pylock = tmp_path / "pylock.toml"
    pylock.write_text(text.replace(digest, "0" * 64))

    with pytest.raises(EnvironmentFailed, match="Hash mismatch"):
        ensure_venv(cache_dir, [], pylock=pylock)


def test_requirements_that_contradict_each_other_are_told_as_uv_tells_them() -> None:
    with pytest.raises(EnvironmentFailed, match="six"):
        compile_pylock(["six==1.16.0", "six==1.17.0"], requires_python=">=3.11")
