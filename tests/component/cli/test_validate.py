"""validate: one document whatever is wrong, one readable report; and what a publish makes of it."""

from pathlib import Path

import pytest

from tests.component.cli.conftest import Freesolo
from tests.environment_folders import MANIFEST, SOUND, write_environment
from tests.hubs import LiveHub

TWICE = SOUND.replace("for n in range(8)", "for n in (1, 2, 3, 1)")
KEYS = {"ok", "findings", "layers", "code", "uses"}


@pytest.fixture
def folder(freesolo: Freesolo) -> Path:
    """Return where an environment may be written."""
    return Path("example")


def test_a_sound_environment_is_measured(freesolo: Freesolo, folder: Path) -> None:
    shown = freesolo("validate", write_environment(folder, SOUND), "--json")

    (use,) = shown.document["uses"]
    assert shown.code == 0
    assert set(shown.document) == KEYS
    assert shown.document["code"]["parameters"]["names"] == []
    assert use["data"]["rows"] == 8
    assert use["audit"]["separation"]["auc"] == 1.0


@pytest.mark.parametrize(
    ("code", "manifest", "exit_code", "named"),
    [
        (SOUND, None, 0, "few_rows"),
        (SOUND, "not TOML", 2, "manifest_invalid"),
        (f"import nowhere\n{SOUND}", MANIFEST, 2, "import_unknown"),
        ("def load_environment():\n    return 1 / 0\n", MANIFEST, 7, "env_failed"),
        (SOUND.replace("float(", "0 * float("), MANIFEST, 2, "gold_all_zero"),
    ],
)
def test_there_is_one_document_whatever_is_wrong(
    freesolo: Freesolo, folder: Path, code: str, manifest: str | None, exit_code: int, named: str
) -> None:
    shown = freesolo("validate", write_environment(folder, code, manifest=manifest), "--json")

    assert shown.code == exit_code
    assert shown.document["ok"] is (exit_code == 0)
    assert named in [finding["code"] for finding in shown.document["findings"]]


def test_a_reward_has_as_long_as_it_is_given(freesolo: Freesolo, folder: Path) -> None:
    slow = f"import time\n{SOUND}".replace(
        "return RewardResult(", "time.sleep(1.5); return RewardResult("
    )
    write_environment(folder, slow)

    shown = freesolo("validate", folder, "--timeout-seconds", "1", "--json")

    assert shown.code == 7
    assert "gave no answer within 1 seconds" in str(shown.document["findings"])
    assert freesolo("validate", folder, "--timeout-seconds", "0").code == 2


def test_a_folder_that_is_not_there_is_a_finding_too(freesolo: Freesolo) -> None:
    shown = freesolo("validate", "nowhere", "--json")

    assert shown.code == 2
    assert [each["code"] for each in shown.document["findings"]] == ["folder_missing"]


def test_there_is_a_document_even_if_nothing_can_be_checked_now(
    freesolo: Freesolo, folder: Path
) -> None:
    write_environment(folder, SOUND, manifest=f'{MANIFEST}environments = ["ada/other"]\n')

    shown = freesolo("validate", folder, "--json")

    assert shown.code == 5
    assert set(shown.document) == KEYS
    assert [each["code"] for each in shown.document["findings"]] == ["not_checked"]


def test_the_report_begins_with_the_verdict_and_names_places(
    freesolo: Freesolo, folder: Path
) -> None:
    write_environment(folder, f"import nowhere\n{SOUND}")

    shown = freesolo("validate", folder)

    lines = shown.out.splitlines()
    assert lines[0] == "The environment is not sound: 1 error, 1 info."
    assert "error   import_unknown  environment.py:1" in lines


def test_the_report_shows_what_the_reward_made_of_each_kind_of_answer(
    freesolo: Freesolo, folder: Path
) -> None:
    shown = freesolo("validate", write_environment(folder, SOUND))

    assert "AUC 1.000" in shown.out
    assert "mean reward" in shown.out
    assert "\x1b" not in shown.out


def test_a_declared_secret_is_taken_from_the_shell(
    freesolo: Freesolo, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = f'import os\nKEY = os.environ["JUDGE_API_KEY"]\n{SOUND}'
    write_environment(folder, code, manifest=f'{MANIFEST}secrets = ["JUDGE_API_KEY"]\n')

    missing = freesolo("validate", folder, "--json")
    monkeypatch.setenv("JUDGE_API_KEY", "a-value-of-the-shell")
    there = freesolo("validate", folder, "--json")

    assert missing.code == 2
    assert "JUDGE_API_KEY" in missing.document["findings"][0]["message"]
    assert there.code == 0
    assert "a-value-of-the-shell" not in there.out + there.err


def test_what_was_found_is_published_and_shown(
    freesolo: Freesolo, folder: Path, with_hub: LiveHub
) -> None:
    write_environment(folder, TWICE)

    published = freesolo("publish", folder)
    listed = freesolo("versions", "local/example", "--json").document["versions"]
    shown = freesolo("info", "local/example", "--checks")

    assert published.code == 0
    assert "duplicate_rows" in published.err
    assert listed[0]["checks"]["warnings"] == 1
    assert "1 warning" in shown.out
    assert "duplicate_rows" in shown.out
    assert "a claim" in shown.err


def test_what_is_forced_is_marked(freesolo: Freesolo, folder: Path, with_hub: LiveHub) -> None:
    write_environment(folder, SOUND.replace("float(", "0 * float("))

    refused = freesolo("publish", folder)
    forced = freesolo("publish", folder, "--force")

    assert refused.code == 2
    assert forced.code == 0
    assert "forced, 1 error" in freesolo("info", "local/example").out
    assert "forced, 1 error" in freesolo("versions", "local/example").out
