"""lock, update, outdated, tree: what a consumer's folder is pinned to."""

import shutil
from pathlib import Path

import pytest

from tests.component.cli.conftest import Freesolo
from tests.component.cli.consumers import (
    BUILDS_ON_TOOLS,
    Publish,
    hub_is_gone,
    read_toml,
    write_math,
    write_tools,
)
from tests.environment_folders import SOUND


def want(*lines: str) -> None:
    """Write a freesolo.toml that wants these environments."""
    table = "\n".join(lines)
    Path("freesolo.toml").write_text(
        f'[project]\nrequires-python = ">=3.11"\n\n[environments]\n{table}\n'
    )


@pytest.fixture
def locked(freesolo: Freesolo, publish: Publish) -> None:
    """A folder that is locked to local/math 1.0, which builds on local/tools 1.0."""
    publish(write_tools("1.0"))
    publish(write_math("1.0", on="local/tools>=1,<2", code=BUILDS_ON_TOOLS))
    want('"local/math" = ">=1,<2"')
    assert freesolo("lock").code == 0


def versions() -> dict[str, str]:
    """Return what the lock holds."""
    return {one["id"]: one["version"] for one in read_toml("freesolo.lock")["environment"]}


def test_a_lock_holds_digests_the_hub_and_what_builds_on_what(
    freesolo: Freesolo, locked: None
) -> None:
    document = read_toml("freesolo.lock")

    assert (document["version"], document["requires-python"]) == (1, ">=3.11")
    math, tools = document["environment"]
    assert (math["id"], math["dependencies"]) == ("local/math", ["local/tools@<2,>=1"])
    for one in (math, tools):
        assert one["tree"].startswith("sha256:")
        assert one["archive"].startswith("sha256:")
        assert one["size"] > 0
        assert one["source"].startswith("http://127.0.0.1")


def test_locking_again_changes_no_byte(freesolo: Freesolo, locked: None) -> None:
    before = Path("freesolo.lock").read_bytes()

    again = freesolo("lock", "--json")
    Path("freesolo.lock").unlink()
    freesolo("lock")

    assert (again.code, again.document["status"]) == (0, "unchanged")
    assert Path("freesolo.lock").read_bytes() == before


def test_what_is_locked_stays_when_something_newer_is_there(
    freesolo: Freesolo, publish: Publish, locked: None
) -> None:
    publish(write_math("1.1"))
    publish(write_tools("1.5"))
    want('"local/math" = ">=1,<2"', '"local/tools" = "*"')

    assert freesolo("lock", "--json").document["status"] == "unchanged"
    assert versions() == {"local/math": "1.0", "local/tools": "1.0"}


def test_a_check_and_a_lock_that_fits_need_no_hub(
    freesolo: Freesolo, locked: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub_is_gone(monkeypatch)

    assert freesolo("lock", "--check", "--json").document["status"] == "unchanged"
    assert freesolo("lock").code == 0
    assert freesolo("tree").code == 0


def test_a_check_refuses_what_does_not_fit_and_writes_nothing(
    freesolo: Freesolo, locked: None
) -> None:
    before = Path("freesolo.lock").read_bytes()
    want('"local/math" = ">=2"')

    refusal = freesolo("lock", "--check", "--json")

    assert (refusal.code, refusal.error["code"]) == (4, "lock_outdated_conflict")
    assert (
        "freesolo.toml wants local/math>=2, but local/math 1.0 is locked"
        in refusal.error["message"]
    )
    assert Path("freesolo.lock").read_bytes() == before


def test_a_check_without_a_lock_is_refused(freesolo: Freesolo) -> None:
    want()
    assert freesolo("lock", "--check").code == 4


def test_a_lock_that_was_edited_by_hand_does_not_pass(freesolo: Freesolo, locked: None) -> None:
    lock = Path("freesolo.lock")
    lock.write_text(lock.read_text().replace('version = "1.0"', 'version = "4.0"'))

    assert freesolo("lock", "--check").code == 4


@pytest.mark.parametrize("command", ["lock", "install", "update", "tree", "outdated"])
def test_a_corrupt_lock_is_refused_with_the_way_out(
    freesolo: Freesolo, locked: None, command: str
) -> None:
    lock = Path("freesolo.lock")
    lock.write_text(f"<<<<<<< ours\n{lock.read_text()}")

    refusal = freesolo(command, "--json")

    assert (refusal.code, refusal.error["code"]) == (2, "invalid_lock_file")
    assert "delete it" in refusal.error["hint"]


def test_a_lost_pylock_is_written_anew(freesolo: Freesolo, publish: Publish) -> None:
    publish(write_math(code=f"import six\n{SOUND}", lines='dependencies = ["six"]\n'))
    want('"local/math" = "*"')
    freesolo("lock")
    pylock = Path("pylock.local-math.toml")
    before = pylock.read_bytes()
    pylock.unlink()

    assert freesolo("lock", "--check").code == 2
    assert freesolo("lock").code == 0
    assert pylock.read_bytes() == before


def test_update_takes_the_newest_that_fits(
    freesolo: Freesolo, publish: Publish, locked: None
) -> None:
    publish(write_tools("1.5"))
    publish(write_math("1.1", on="local/tools>=1", code=BUILDS_ON_TOOLS))
    publish(write_math("2.0"))

    updated = freesolo("update", "--json")

    assert updated.document["status"] == "changed"
    assert {"ref": "local/math", "before": "1.0", "after": "1.1"} in updated.document["changes"]
    assert versions() == {"local/math": "1.1", "local/tools": "1.5"}


def test_update_of_one_leaves_the_others(
    freesolo: Freesolo, publish: Publish, locked: None
) -> None:
    publish(write_tools("1.5"))
    publish(write_math("1.1", on="local/tools>=1", code=BUILDS_ON_TOOLS))

    freesolo("update", "Local/Math")

    assert versions() == {"local/math": "1.1", "local/tools": "1.0"}


def test_update_of_what_is_not_locked_names_the_nearest(freesolo: Freesolo, locked: None) -> None:
    refusal = freesolo("update", "local/maths", "--json")

    assert refusal.code == 3
    assert "local/math" in refusal.error["hint"]


@pytest.mark.parametrize("command", ["update", "remove"])
def test_a_version_behind_a_name_is_not_passed_over(
    freesolo: Freesolo, locked: None, command: str
) -> None:
    refusal = freesolo(command, "local/math@>=9", "--json")

    assert (refusal.code, refusal.error["code"]) == (2, "invalid_ref")
    assert "without a version" in refusal.error["hint"]


def test_outdated_tells_what_an_update_would_take_and_what_is_newest(
    freesolo: Freesolo, publish: Publish, locked: None
) -> None:
    publish(write_math("1.1"))
    publish(write_math("2.0"))

    math, tools = freesolo("outdated", "--json").document["environments"]

    assert (math["locked"], math["wanted"], math["latest"]) == ("1.0", "1.1", "2.0")
    assert math["outdated"]
    # 1.1 no longer builds on it.
    assert tools["wanted"] is None


def test_a_locked_pre_release_is_not_outdated_by_an_older_release(
    freesolo: Freesolo, publish: Publish
) -> None:
    publish(write_math("1.0"))
    publish(write_math("1.1rc1"))
    want('"local/math" = "1.1rc1"')
    freesolo("lock")

    (math,) = freesolo("outdated", "--json").document["environments"]

    assert (math["latest"], math["outdated"]) == ("1.0", False)


def test_outdated_and_update_tell_of_a_version_that_was_yanked(
    freesolo: Freesolo, publish: Publish
) -> None:
    publish(write_math("1.0"))
    publish(write_math("1.1"))
    want('"local/math" = ">=1"')
    freesolo("lock")
    freesolo("yank", "local/math@1.1", "--reason", "Rows leak.")

    (math,) = freesolo("outdated", "--json").document["environments"]
    assert (math["locked"], math["wanted"], math["yanked"]) == ("1.1", "1.0", True)
    assert freesolo("install", "--locked").code == 0
    Path("freesolo.lock").unlink()
    assert "was yanked: Rows leak." in freesolo("install", "local/math@1.1").err
    freesolo("update")
    assert versions() == {"local/math": "1.0"}


def test_outdated_says_when_there_is_nothing_to_do(freesolo: Freesolo, locked: None) -> None:
    assert freesolo("outdated").out == "Everything is up to date.\n"


def test_the_tree_shows_what_builds_on_what(freesolo: Freesolo, locked: None) -> None:
    assert freesolo("tree").out.splitlines() == [
        "local/math 1.0 (local/math>=1,<2)",
        "└── local/tools 1.0 (local/tools>=1,<2)",
    ]
    math, tools = freesolo("tree", "--json").document["environments"]
    assert math["dependencies"] == ["local/tools>=1,<2"]
    assert (math["wanted"], tools["wanted"]) == (True, False)


def test_a_circle_is_refused_with_its_members(freesolo: Freesolo, publish: Publish) -> None:
    publish(write_tools("1.0"))
    publish(write_math("1.0", on="local/tools>=1"))
    tools = write_tools("1.1")
    with (tools / "environment.toml").open("a") as file:
        file.write('environments = ["local/math"]\n')
    publish(tools)
    want('"local/math" = "*"')

    refusal = freesolo("lock", "--json")

    assert (refusal.code, refusal.error["code"]) == (4, "requirements_conflict")
    assert "local/math 1.0 -> local/tools 1.1" in refusal.error["message"]


def test_another_hub_with_other_files_under_a_locked_version_is_noticed(
    freesolo: Freesolo, locked: None
) -> None:
    lock = Path("freesolo.lock")
    tree = read_toml("freesolo.lock")["environment"][0]["tree"]
    lock.write_text(lock.read_text().replace(tree, f"sha256:{'0' * 64}"))

    refusal = freesolo("update", "local/tools", "--json")

    assert (refusal.code, refusal.error["code"]) == (4, "lock_outdated_conflict")
    assert tree in refusal.error["message"]


def test_the_cache_is_listed_and_cleared_but_for_what_is_locked(
    freesolo: Freesolo, locked: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FREESOLO_CACHE_DIR", str(tmp_path / "cache"))
    assert freesolo("cache", "dir").out.strip() == str(tmp_path / "cache")
    assert freesolo("install").code == 0
    shutil.copytree(
        next((tmp_path / "cache/environments").glob("[!.]*")), tmp_path / "cache/environments/old"
    )

    before = freesolo("cache", "list", "--json").document
    cleaned = freesolo("cache", "clean", "--keep-locked", "--json").document

    assert {entry["kind"] for entry in before["entries"]} >= {"environments", "venvs"}
    assert before["size"] > 0
    assert [entry["name"] for entry in cleaned["removed"]] == ["old"]
    hub_is_gone(monkeypatch)
    assert freesolo("install", "--locked").code == 0
    freesolo("cache", "clean")
    left = freesolo("cache", "list", "--json").document["entries"]
    assert {entry["kind"] for entry in left} <= {"contracts"}
