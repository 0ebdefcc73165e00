"""freesolo.lock on disk, and the pylocks beside it."""

from pathlib import Path

import pytest

from freesolo.errors import InvalidLockFile
from freesolo.package.lockfile import (
    Lock,
    LockedEnvironment,
    PipLock,
    digest_of,
    make_lock,
    read_lock,
    read_pylocks,
    write_lock,
)

DIGEST = f"sha256:{'a' * 64}"
PYLOCK = "pylock.acme-math.toml"


def a_lock() -> Lock:
    math = LockedEnvironment(
        id="acme/math",
        version="1.2.0",
        tree=DIGEST,
        archive=DIGEST,
        size=7,
        source="https://hub.example",
        pip=PipLock(lock=PYLOCK, digest=digest_of("packages")),
    )
    return make_lock("", [math])


def test_a_lock_is_written_with_its_pylocks_and_takes_those_of_the_last_one_away(
    tmp_path: Path,
) -> None:
    write_lock(tmp_path, a_lock(), {PYLOCK: "packages"})
    assert read_lock(tmp_path) == a_lock()
    assert read_pylocks(tmp_path, a_lock().environment) == {"acme/math": tmp_path / PYLOCK}

    write_lock(tmp_path, make_lock("", []), {})
    assert [path.name for path in tmp_path.iterdir()] == ["freesolo.lock"]


@pytest.mark.parametrize("text", ["other packages", None])
def test_a_pylock_that_is_not_what_the_lock_pins_is_refused(
    tmp_path: Path, text: str | None
) -> None:
    write_lock(tmp_path, a_lock(), {PYLOCK: text} if text else {})

    with pytest.raises(InvalidLockFile, match=PYLOCK):
        read_pylocks(tmp_path, a_lock().environment)
