"""`freesolo hub`: the owner's commands, on the data of a platform."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from freesolo.cli.main import run
from hub_server.migrating import migrate


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """The data folder of a platform whose hub holds nothing yet."""
    (tmp_path / "hub").mkdir()
    migrate(f"sqlite:///{tmp_path / 'hub' / 'hub.db'}")
    return tmp_path


def hub(capfd: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Run a command; return its exit code, its output and its talk."""
    code = run(["hub", *arguments])
    return code, *capfd.readouterr()


def test_a_healthy_hub_is_told_so(data_dir: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code, output, _ = hub(capfd, "fsck", "--data-dir", str(data_dir), "--json")
    assert code == 0
    assert json.loads(output)["findings"] == []


def test_a_damaged_hub_leaves_with_1(data_dir: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with closing(sqlite3.connect(data_dir / "hub" / "hub.db")) as database, database:
        database.execute("INSERT INTO feed_head (id, serial, hash) VALUES (1, 7, 'x')")
    code, output, _ = hub(capfd, "fsck", "--data-dir", str(data_dir))
    assert code == 1
    assert output.startswith("feed: It ends at change 0, but should at 7.\n")


def test_garbage_is_counted(data_dir: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code, output, _ = hub(capfd, "gc", "--dry-run", "--data-dir", str(data_dir), "--json")
    assert code == 0
    assert json.loads(output) == {"dry_run": True, "blobs": [], "bytes": 0, "uploads": []}


def test_a_backup_fills_a_new_folder_and_no_other(
    data_dir: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    copy, new = str(tmp_path / "copy"), str(tmp_path / "new")
    code, _, talk = hub(capfd, "backup", copy, "--data-dir", str(data_dir))
    assert code == 0
    assert f"freesolo hub restore {copy}" in talk
    assert hub(capfd, "restore", copy, "--data-dir", new)[0] == 0
    assert (tmp_path / "new" / "hub" / "hub.db").exists()
    code, _, talk = hub(capfd, "restore", copy, "--data-dir", new)
    assert code == 4
    assert "already holds" in talk


def test_where_no_hub_is_none_is_made(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for command in (["fsck"], ["gc"], ["backup", str(tmp_path / "copy")]):
        code, _, talk = hub(capfd, *command, "--data-dir", str(tmp_path / "nowhere"))
        assert code == 3
        assert f"There is no hub in {tmp_path / 'nowhere' / 'hub'}" in talk
    assert not (tmp_path / "nowhere" / "hub" / "hub.db").exists()


def test_a_backup_where_nothing_can_be_written_is_refused(
    data_dir: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code, _, talk = hub(capfd, "backup", "/proc/backup", "--data-dir", str(data_dir))
    assert code == 2
    assert "/proc/backup" in talk
    assert "Traceback" not in talk
