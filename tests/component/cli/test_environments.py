"""init, validate, publish, pull: an environment's way to the hub and back."""

import json
from pathlib import Path

import pytest

from tests.component.cli.conftest import Freesolo
from tests.hubs import LiveHub

CONFIG = "dates/configs/sft.toml"


@pytest.fixture
def dates(freesolo: Freesolo) -> Path:
    assert freesolo("init", "dates").code == 0
    return Path("dates")


def test_a_new_environment_is_sound(freesolo: Freesolo, dates: Path) -> None:
    report = freesolo("validate", dates, "--json")
    assert report.code == 0
    assert report.document["ok"]
    assert {item["severity"] for item in report.document["findings"]} <= {"info"}


def test_a_folder_without_a_manifest_may_have_any_name(freesolo: Freesolo, dates: Path) -> None:
    (dates / "environment.toml").unlink()
    folder = dates.rename("My Dates (new)")

    assert freesolo("validate", folder, "--json").code == 0


def test_an_unknown_template_is_answered_with_the_nearest(freesolo: Freesolo) -> None:
    refusal = freesolo("init", "x", "--template", "single-tun", "--json")
    assert refusal.code == 3
    assert "single-turn" in refusal.error["hint"]


def test_init_does_not_write_into_a_folder_with_files(freesolo: Freesolo, dates: Path) -> None:
    refusal = freesolo("init", dates, "--json")
    assert (refusal.code, refusal.error["code"]) == (4, "folder_not_empty_conflict")


def test_publishing_twice_is_unchanged_and_other_files_are_a_conflict(
    freesolo: Freesolo, dates: Path, with_hub: LiveHub
) -> None:
    first = freesolo("publish", dates, "--json")
    assert first.code == 0
    assert first.document["ref"] == "local/dates"
    assert first.document["status"] == "created"
    assert freesolo("publish", dates, "--json").document["status"] == "unchanged"
    (dates / "notes.txt").write_text("changed")
    refusal = freesolo("publish", dates, "--json")
    assert (refusal.code, refusal.error["code"]) == (4, "version_exists_conflict")
    assert first.document["tree_digest"] in refusal.error["message"]


def test_what_is_pulled_is_what_was_published(
    freesolo: Freesolo, dates: Path, with_hub: LiveHub
) -> None:
    published = freesolo("publish", dates, "--json").document
    ref = f"local/dates@{published['tree_digest']}"
    pulled = freesolo("pull", ref, "-o", "new/copy", "--json")
    assert pulled.code == 0
    assert pulled.document["tree_digest"] == published["tree_digest"]
    for path in pulled.document["files"]:
        assert (Path("new/copy") / path).read_bytes() == (dates / path).read_bytes()


def test_pull_asks_before_it_writes_among_other_files(
    freesolo: Freesolo, dates: Path, with_hub: LiveHub
) -> None:
    freesolo("publish", dates)
    Path("full").mkdir()
    Path("full/mine.txt").write_text("mine")
    assert freesolo("pull", "local/dates", "-o", "full", "--json").code == 4
    assert freesolo("pull", "local/dates", "-o", "full", "--force").code == 0
    assert Path("full/mine.txt").read_text() == "mine"
    assert Path("full/environment.py").exists()


@pytest.mark.parametrize(
    ("ref", "code", "hint"),
    [
        ("local/datse", "environment_not_found", "dates"),
        ("local/dates@9.9", "version_not_found", "0.1.0"),
        ("dates", "invalid_ref", "org/name"),
    ],
)
def test_a_wrong_reference_is_answered_with_the_way_out(
    freesolo: Freesolo, dates: Path, with_hub: LiveHub, ref: str, code: str, hint: str
) -> None:
    freesolo("publish", dates)
    refusal = freesolo("pull", ref, "-o", "copy", "--json")
    assert refusal.error["code"] == code
    assert hint in refusal.error["hint"]
    assert not Path("copy").exists()


@pytest.mark.parametrize(
    ("source", "code", "words"),
    [
        ("raise RuntimeError('my import breaks')", 7, "my import breaks"),
        ("def load_environment():\n    return 3", 7, "load_environment"),
        ("def broken(:\n    pass", 2, "environment.py"),
    ],
)
def test_broken_code_is_refused_with_the_authors_own_words(
    freesolo: Freesolo, dates: Path, with_hub: LiveHub, source: str, code: int, words: str
) -> None:
    (dates / "environment.py").write_text(source)
    report = freesolo("validate", dates, "--json")
    assert report.code == code
    assert words in json.dumps(report.document)
    refusal = freesolo("publish", dates, "--json")
    assert refusal.code == code
    assert words in json.dumps(refusal.error)


def test_force_publishes_what_is_not_sound(
    freesolo: Freesolo, dates: Path, with_hub: LiveHub
) -> None:
    (dates / "environment.py").write_text("raise RuntimeError")
    assert freesolo("publish", dates, "--force", "--json").document["status"] == "created"


def test_a_folder_without_a_manifest_is_published_by_name_and_counts_up(
    freesolo: Freesolo, dates: Path, with_hub: LiveHub
) -> None:
    (dates / "environment.toml").unlink()
    assert freesolo("publish", dates, "--json").code == 2
    assert freesolo("publish", dates, "--name", "days", "--json").document["version"] == "0.1.0"
    again = freesolo("publish", dates, "--name", "days", "--json").document
    assert (again["version"], again["status"]) == ("0.1.0", "unchanged")
    (dates / "notes.txt").write_text("changed")
    assert freesolo("publish", dates, "--name", "days", "--json").document["version"] == "0.1.1"
