"""publish: what is shown before, which version is taken, what a conflict tells, and going on."""

import os
from pathlib import Path

import pytest

from freesolo.schemas.uploads import RESUMABLE_BYTES
from tests.component.cli.conftest import Freesolo
from tests.environment_folders import SOUND, write_environment
from tests.hubs import LiveHub

MANIFEST = """[environment]
name = "agree"
version = "0.1.0"
summary = "Agree."
"""
# Put together here, so that no scanner of this repository takes it for a real one.
KEY = "hf_" + "aB3dE5gH7jK9mN1pQ3sT5vW7yZabcdefgh"


@pytest.fixture
def agree(freesolo: Freesolo, with_hub: LiveHub) -> Path:
    return write_environment(Path("agree"), SOUND, manifest=MANIFEST)


def test_a_dry_run_shows_what_goes_in_what_stays_out_and_why(
    freesolo: Freesolo, agree: Path
) -> None:
    (agree / ".freesoloignore").write_text("*.log\n")
    (agree / "a.log").touch()
    (agree / ".env").write_text("TOKEN=1")

    shown = freesolo("publish", agree, "--dry-run", "--json")

    assert shown.code == 0
    document = shown.document
    assert (document["ref"], document["version"], document["status"]) == (
        "local/agree",
        "0.1.0",
        "created",
    )
    assert [file["path"] for file in document["files"]] == [
        ".freesoloignore",
        "environment.py",
        "environment.toml",
    ]
    assert document["left_out"] == [
        {"path": ".env", "rule": "`.env`, never packed"},
        {"path": "a.log", "rule": "`*.log`, .freesoloignore"},
    ]
    assert document["tree_size"] == sum(file["size"] for file in document["files"])
    published = freesolo("publish", agree, "--json").document
    assert published["status"] == "created"
    assert published["tree_digest"] == document["tree_digest"]
    assert published["size"] == document["size"]


def test_a_dry_run_is_readable(freesolo: Freesolo, agree: Path) -> None:
    (agree / ".env").touch()

    out = freesolo("publish", agree, "--dry-run").out

    assert "environment.py" in out
    assert "`.env`, never packed" in out
    assert "local/agree 0.1.0 (created)" in out


def test_a_dry_run_ends_as_the_publish_would(freesolo: Freesolo, agree: Path) -> None:
    freesolo("publish", agree)
    assert freesolo("publish", agree, "--dry-run", "--json").document["status"] == "unchanged"
    (agree / "notes.txt").write_text("changed")

    shown = freesolo("publish", agree, "--dry-run", "--json")

    assert (shown.code, shown.error["code"]) == (4, "version_exists_conflict")
    assert shown.document["status"] == "conflict"
    assert shown.document["tree_digest"] in shown.error["message"]


def test_a_dry_run_of_broken_code_still_shows_the_files(freesolo: Freesolo, agree: Path) -> None:
    (agree / "environment.py").write_text("raise RuntimeError('broken')")

    shown = freesolo("publish", agree, "--dry-run", "--json")

    assert (shown.code, shown.error["code"]) == (7, "env_failed")
    assert len(shown.document["files"]) == 2


@pytest.mark.parametrize("option", ["--force", "--dry-run"])
def test_a_secret_is_refused_whatever_is_asked_for(
    freesolo: Freesolo, agree: Path, option: str
) -> None:
    (agree / "notes.txt").write_text(f"\n{KEY}\n")

    refusal = freesolo("publish", agree, option, "--json")

    assert refusal.code == 2
    assert "notes.txt, line 2" in refusal.error["message"]
    assert refusal.error["problems"][0]["code"] == "secret_found"
    assert KEY not in refusal.out + refusal.err


def test_a_marked_line_is_published(freesolo: Freesolo, agree: Path) -> None:
    (agree / "notes.txt").write_text(f"{KEY}  # pragma: allowlist secret\n")

    assert freesolo("publish", agree).code == 0


def test_a_bump_writes_the_version_after_the_newest(freesolo: Freesolo, agree: Path) -> None:
    manifest = agree / "environment.toml"
    manifest.write_text("# Mine.\n" + manifest.read_text())
    assert freesolo("publish", agree, "--bump", "minor", "--json").document["version"] == "0.1.0"

    assert freesolo("publish", agree, "--bump", "minor", "--json").document["version"] == "0.2.0"
    assert freesolo("publish", agree, "--bump", "rc", "--json").document["version"] == "0.2.1rc1"
    assert manifest.read_text().startswith('# Mine.\n[environment]\nname = "agree"')
    assert 'version = "0.2.1rc1"' in manifest.read_text()


def test_a_bump_that_is_not_published_leaves_the_manifest(freesolo: Freesolo, agree: Path) -> None:
    freesolo("publish", agree)
    before = (agree / "environment.toml").read_bytes()

    shown = freesolo("publish", agree, "--bump", "major", "--dry-run", "--json").document

    assert (shown["version"], shown["status"]) == ("1.0.0", "created")
    assert (agree / "environment.toml").read_bytes() == before
    published = freesolo("publish", agree, "--bump", "major", "--json").document
    assert published["tree_digest"] == shown["tree_digest"]


def test_the_number_of_a_deleted_version_is_stepped_over(freesolo: Freesolo, agree: Path) -> None:
    freesolo("publish", agree)
    freesolo("publish", agree, "--bump", "patch")
    assert freesolo("delete", "local/agree@0.1.1", "--yes").code == 0

    shown = freesolo("publish", agree, "--dry-run", "--json")
    assert (shown.code, shown.error["code"]) == (4, "version_tombstoned")
    assert shown.document["status"] == "conflict"

    assert freesolo("publish", agree, "--bump", "patch", "--json").document["version"] == "0.1.2"


def test_a_staged_version_is_told_with_the_way_to_show_it(freesolo: Freesolo, agree: Path) -> None:
    staged = freesolo("publish", agree, "--stage")

    assert staged.code == 0
    assert "freesolo promote local/agree@0.1.0" in staged.err


def test_what_was_published_is_trained_by_imitation_first(
    freesolo: Freesolo, with_hub: LiveHub
) -> None:
    # It has a config for practice too, whose name comes first.
    freesolo("init", "dates", "--template", "single-turn")

    assert "Next: freesolo train dates/configs/sft.toml" in freesolo("publish", "dates").err


def test_a_conflict_names_both_digests_and_every_file(freesolo: Freesolo, agree: Path) -> None:
    (agree / "old.txt").write_text("old")
    first = freesolo("publish", agree, "--json").document
    (agree / "old.txt").unlink()
    (agree / "new.txt").write_text("new")
    (agree / "environment.py").write_text((agree / "environment.py").read_text() + "\n")
    second = freesolo("publish", agree, "--dry-run", "--json").document

    refusal = freesolo("publish", agree)

    assert refusal.code == 4
    assert first["tree_digest"] in refusal.err
    assert second["tree_digest"] in refusal.err
    assert "  new.txt: added, 3 bytes" in refusal.err
    assert "  old.txt: removed, 3 bytes" in refusal.err
    assert "  environment.py: changed, " in refusal.err


def test_a_conflict_of_a_single_file_tells_it_too(freesolo: Freesolo, agree: Path) -> None:
    freesolo("publish", agree)
    (agree / "new.txt").write_text("new")

    assert "  new.txt: added, 3 bytes" in freesolo("publish", agree).err


def test_a_large_archive_is_published_like_any_other(freesolo: Freesolo, agree: Path) -> None:
    (agree / "noise.bin").write_bytes(os.urandom(RESUMABLE_BYTES + 10**6))

    first = freesolo("publish", agree, "--json")

    assert first.code == 0
    assert first.document["status"] == "created"
    assert first.document["size"] > RESUMABLE_BYTES
