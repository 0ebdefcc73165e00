"""Folders of attempts where no worker of the machine's own removes them."""

from pathlib import Path

from training_backend.scratch import attempt_folder


def test_a_folder_is_gone_after_its_attempt(tmp_path: Path) -> None:
    with attempt_folder(tmp_path, "run-a-1") as folder:
        (folder / "file").write_text("")
    assert not folder.exists()
    assert list((tmp_path / "locks").iterdir()) == []


def test_what_a_killed_attempt_left_goes_with_the_next_and_a_living_ones_stays(
    tmp_path: Path,
) -> None:
    (tmp_path / "run-killed-1").mkdir()
    with attempt_folder(tmp_path, "run-living-1") as living, attempt_folder(tmp_path, "run-next-1"):
        assert living.exists()
        assert not (tmp_path / "run-killed-1").exists()
