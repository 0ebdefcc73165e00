"""`validate` on flawed environments names each flaw and none other; sound ones it leaves in peace."""

from pathlib import Path

import pytest

from freesolo.package import checks
from freesolo.package.checks import Report, Severity, check_folder
from freesolo.runtime.client import HostOptions, SandboxMode
from tests.environment_folders import write_environment
from tests.flawed_environments import FILE_FLAWS, REWARD_FLAWS, Flawed
from tests.sound_environments import SOUND_ENVIRONMENTS

FLAWS = {**FILE_FLAWS, **REWARD_FLAWS}


@pytest.fixture
def quick(options: HostOptions) -> HostOptions:
    """How environments run here: a reward that hangs does not hang for long."""
    return HostOptions(options.cache_dir, sandbox=SandboxMode.OFF, call_timeout=1)


def graver(report: Report) -> set[str]:
    """Return the codes of all that is no mere information."""
    return {finding.code for finding in report.findings if finding.severity is not Severity.INFO}


@pytest.mark.parametrize("flawed", FLAWS.values(), ids=FLAWS)
def test_a_flaw_is_named_and_none_other(flawed: Flawed, tmp_path: Path, quick: HostOptions) -> None:
    report = check_folder(flawed.write(tmp_path / "environment"), quick)

    assert graver(report) == flawed.codes, [finding.message for finding in report.findings]


@pytest.mark.parametrize("files", SOUND_ENVIRONMENTS.values(), ids=SOUND_ENVIRONMENTS)
def test_a_sound_environment_is_left_in_peace(
    files: dict[str, str], tmp_path: Path, quick: HostOptions
) -> None:
    folder = write_environment(tmp_path, "")
    for path, text in files.items():
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_text(text)

    report = check_folder(folder, quick)

    assert graver(report) == set(), [finding.message for finding in report.findings]
    assert report.uses[0].data


def test_every_code_of_a_flaw_is_described() -> None:
    named = set().union(*(flawed.codes for flawed in FLAWS.values()))

    assert {code for code in named if code not in str(checks.__doc__)} == set()
