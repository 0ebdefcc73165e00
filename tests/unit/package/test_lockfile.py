"""freesolo.lock: stable, strict, and told apart from what freesolo.toml wants."""

import pytest

from freesolo.domain.distributions import Distribution
from freesolo.domain.refs import EnvRef
from freesolo.errors import InvalidLockFile, LockOutdated
from freesolo.package.consumer import Consumer, parse_consumer
from freesolo.package.lockfile import (
    Lock,
    LockedEnvironment,
    PipLock,
    check_fit,
    digest_of,
    lock_text,
    make_lock,
    misfits,
    parse_lock,
    pylock_name,
)

DIGEST = f"sha256:{'a' * 64}"
PYLOCK = "pylock.acme-math.toml"


def locked(
    name: str, version: str, *dependencies: str, pip: PipLock | None = None
) -> LockedEnvironment:
    return LockedEnvironment(
        id=name,
        version=version,
        tree=DIGEST,
        archive=DIGEST,
        size=7,
        source="https://hub.example",
        dependencies=dependencies,
        pip=pip,
    )


def wants(*lines: str) -> Consumer:
    table = "\n".join(lines)
    return parse_consumer(f'[project]\nrequires-python = ">=3.11"\n[environments]\n{table}\n')


def a_lock() -> Lock:
    pip = PipLock(lock=PYLOCK, digest=digest_of("packages"))
    math = locked("acme/math", "1.2.0", "acme/tools@<2,>=1", pip=pip)
    return make_lock(">=3.11", [locked("acme/tools", "1.0"), math])


def test_a_lock_is_sorted_and_reads_back_as_it_was_written() -> None:
    text = lock_text(a_lock())

    assert parse_lock(text) == a_lock()
    assert lock_text(parse_lock(text)) == text
    assert text.index("acme/math") < text.index('id = "acme/tools"')
    assert 'requires-python = ">=3.11"' in text


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("version = 1\n", "version = 2\n"), "version"),
        (("<<<<", "<<<<"), "not valid TOML"),
        (("acme/tools", "Acme/Math"), "twice"),
        (("sha256:aaaa", "sha256:AAAA"), "environment.0.tree"),
        (('lock = "pylock.', 'lock = "../pylock.'), "lock"),
        (("dependencies = []", 'dependencies = ["acme/math"]'), "circle"),
        (("size = 7", "size = -7"), "size"),
        (('version = "1.0"', 'version = "one"'), "one"),
        (("source", "sauce"), "source"),
    ],
)
def test_what_is_no_lock_is_refused_with_the_way_out(change: tuple[str, str], words: str) -> None:
    text = lock_text(a_lock())
    text = f"{text}<<<<" if change[0] == "<<<<" else text.replace(*change)

    with pytest.raises(InvalidLockFile, match=words) as refusal:
        parse_lock(text)
    assert "freesolo lock" in (refusal.value.hint or "")


def test_a_lock_fits_what_it_was_made_for() -> None:
    assert misfits(a_lock(), wants('"acme/math" = ">=1,<2"')) == []


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        (['"acme/math" = ">=2"'], "version"),
        (['"acme/math" = "*"', '"acme/new" = "*"'], "missing"),
        (['"acme/tools" = "*"'], "superfluous"),
        (['"acme/math" = "*"', '"acme/tools" = "1.1"'], "version"),
    ],
)
def test_a_lock_that_does_not_fit_says_why(lines: list[str], code: str) -> None:
    with pytest.raises(LockOutdated) as refusal:
        check_fit(a_lock(), wants(*lines))
    assert [problem.code for problem in refusal.value.problems] == [code]


def test_a_channel_and_a_digest_are_held_against_what_is_locked() -> None:
    assert misfits(a_lock(), wants('"acme/math" = "stable"')) == []
    assert misfits(a_lock(), wants(f'"acme/math" = "{DIGEST}"')) == []
    assert misfits(a_lock(), wants(f'"acme/math" = "sha256:{"b" * 64}"'))


def test_a_hand_edited_version_no_longer_fits_those_who_build_on_it() -> None:
    edited = parse_lock(lock_text(a_lock()).replace('version = "1.0"', 'version = "3.0"'))

    (problem,) = misfits(edited, wants('"acme/math" = "*"'))
    assert (
        problem.message == "acme/math 1.2.0 wants acme/tools>=1,<2, but acme/tools 3.0 is locked."
    )


def test_another_range_of_pythons_does_not_fit() -> None:
    (problem,) = misfits(a_lock(), parse_consumer('[environments]\n"acme/math" = "*"'))
    assert problem.path == "requires-python"


def test_a_missing_lock_does_not_fit() -> None:
    with pytest.raises(LockOutdated, match="There is no"):
        check_fit(None, wants())


def test_the_closure_of_an_environment_is_what_it_builds_on() -> None:
    closure = a_lock().closure(EnvRef.parse("Acme/Math"))
    assert [str(one) for one in closure] == ["acme/math 1.2.0", "acme/tools 1.0"]


def test_no_two_environments_share_a_pylock() -> None:
    assert pylock_name(Distribution.of("Acme", "my_math")) == "pylock.acme-my-math.toml"
    assert pylock_name(Distribution.of("acme-my", "math")) == "pylock.fsenv2-acme-my-math.toml"
