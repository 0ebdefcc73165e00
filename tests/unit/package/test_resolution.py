"""Versions that fit together, and in which words it is told that none do."""

from collections.abc import Sequence
from hashlib import sha256

import pytest
from packaging.version import Version

from freesolo.domain.fields import parse_environment_requirement
from freesolo.domain.refs import EnvRef
from freesolo.errors import EnvironmentNotFound, RequirementsConflict, VersionNotFound
from freesolo.package.resolution import Candidate, Want, resolve


class Shelf:
    """Versions in memory: `publish` adds one."""

    def __init__(self) -> None:
        self._versions: dict[str, list[Candidate]] = {}
        self.channels: dict[str, str] = {}

    def publish(
        self, ref: str, version: str, *on: str, python: str = "", yanked: bool = False
    ) -> Candidate:
        candidate = Candidate(
            ref=ref,
            version=Version(version),
            tree_digest=f"sha256:{sha256(f'{ref} {version}'.encode()).hexdigest()}",
            archive_digest=f"sha256:{'0' * 64}",
            size=1,
            requires_python=python,
            yanked=yanked,
            environments=tuple(parse_environment_requirement(text) for text in on),
        )
        self._versions.setdefault(ref, []).append(candidate)
        return candidate

    def versions(self, ref: EnvRef) -> Sequence[Candidate]:
        if ref.full_name not in self._versions:
            raise EnvironmentNotFound(f"There is no environment {ref.full_name!r}.", hint="Look.")
        return self._versions[ref.full_name]

    def channel(self, ref: EnvRef) -> Version:
        return Version(self.channels[str(ref)])

    def resolve(self, *refs: str, keep: Sequence[Candidate] = (), python: str = "") -> list[str]:
        wanted = [Want(EnvRef.parse(ref), by="freesolo.toml") for ref in refs]
        digests = [candidate.tree_digest for candidate in keep]
        return [str(one) for one in resolve(wanted, self, keep=digests, python=python)]


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


def test_the_newest_version_in_range_is_taken(shelf: Shelf) -> None:
    for version in ("1.9", "1.10", "2.0"):
        shelf.publish("acme/math", version)

    assert shelf.resolve("acme/math@>=1,<2") == ["acme/math 1.10"]


def test_what_is_locked_stays_while_it_fits(shelf: Shelf) -> None:
    locked = shelf.publish("acme/math", "1.0")
    shelf.publish("acme/math", "1.1")

    assert shelf.resolve("acme/math@>=1", keep=[locked]) == ["acme/math 1.0"]
    assert shelf.resolve("acme/math@>=1.1", keep=[locked]) == ["acme/math 1.1"]


def test_what_an_environment_builds_on_comes_along(shelf: Shelf) -> None:
    shelf.publish("acme/tools", "1.0")
    shelf.publish("acme/tools", "2.0")
    shelf.publish("acme/math", "1.0", "acme/tools<2")
    shelf.publish("acme/more", "1.0", "acme/math", "acme/tools")

    assert shelf.resolve("acme/more") == ["acme/math 1.0", "acme/more 1.0", "acme/tools 1.0"]


def test_an_older_version_is_taken_if_only_that_one_fits(shelf: Shelf) -> None:
    shelf.publish("acme/tools", "1.0")
    shelf.publish("acme/math", "1.0", "acme/tools<2")
    shelf.publish("acme/math", "1.1", "acme/tools>=2")

    assert shelf.resolve("acme/math", "acme/tools@<2") == ["acme/math 1.0", "acme/tools 1.0"]


@pytest.mark.parametrize(
    ("ref", "expected"),
    [
        ("acme/math", "1.0"),
        ("acme/math@>=1", "1.0"),
        ("acme/math@>=1.1rc1", "1.1rc1"),
        ("acme/math@1.1rc1", "1.1rc1"),
        ("acme/math@next", "1.1rc1"),
    ],
)
def test_a_pre_release_is_taken_only_if_asked_for(shelf: Shelf, ref: str, expected: str) -> None:
    shelf.publish("acme/math", "1.0")
    shelf.publish("acme/math", "1.1rc1")
    shelf.channels["acme/math@next"] = "1.1rc1"

    assert shelf.resolve(ref) == [f"acme/math {expected}"]


@pytest.mark.parametrize(
    ("ref", "expected"),
    [("acme/math@>=1", "1.0"), ("acme/math@1.1", "1.1"), ("acme/math@==1.1", "1.1")],
)
def test_a_yanked_version_is_taken_only_if_asked_for_exactly(
    shelf: Shelf, ref: str, expected: str
) -> None:
    shelf.publish("acme/math", "1.0")
    shelf.publish("acme/math", "1.1", yanked=True)

    assert shelf.resolve(ref) == [f"acme/math {expected}"]


def test_a_yanked_version_stays_where_it_is_locked(shelf: Shelf) -> None:
    shelf.publish("acme/math", "1.0")
    locked = shelf.publish("acme/math", "1.1", yanked=True)

    assert shelf.resolve("acme/math@>=1", keep=[locked]) == ["acme/math 1.1"]


def test_a_version_must_run_on_the_oldest_python_that_is_asked_for(shelf: Shelf) -> None:
    shelf.publish("acme/math", "1.0", python=">=3.9")
    shelf.publish("acme/math", "1.1", python=">=3.13")

    assert shelf.resolve("acme/math", python=">=3.11") == ["acme/math 1.0"]
    assert shelf.resolve("acme/math", python=">=3.13") == ["acme/math 1.1"]


def test_a_conflict_is_told_in_words(shelf: Shelf) -> None:
    shelf.publish("acme/tools", "1.0")
    shelf.publish("acme/tools", "2.0")
    shelf.publish("acme/math", "1.0", "acme/tools>=2")

    with pytest.raises(RequirementsConflict) as refusal:
        shelf.resolve("acme/math", "acme/tools@<2")

    assert "acme/math 1.0 wants acme/tools>=2" in refusal.value.message
    assert "freesolo.toml wants acme/tools<2" in refusal.value.message


def test_a_version_that_is_not_there_is_told_with_those_that_are(shelf: Shelf) -> None:
    shelf.publish("acme/math", "1.0")
    shelf.publish("acme/math", "3.0rc1")
    shelf.publish("acme/math", "3.1", yanked=True)
    shelf.publish("acme/math", "3.2", python=">=3.20")

    with pytest.raises(VersionNotFound) as refusal:
        shelf.resolve("acme/math@>=3", python=">=3.11")

    assert refusal.value.hint == (
        "It has 3.2 (needs Python >=3.20), 3.1 (was yanked), 3.0rc1 (is a pre-release), 1.0."
    )


def test_an_environment_that_is_not_there_is_told_with_who_wants_it(shelf: Shelf) -> None:
    shelf.publish("acme/math", "1.0", "acme/tolls>=1")

    with pytest.raises(EnvironmentNotFound) as refusal:
        shelf.resolve("acme/math")

    assert "acme/tolls" in refusal.value.message
    assert refusal.value.hint == "acme/math 1.0 wants acme/tolls>=1. Look."


def test_environments_that_build_on_each_other_are_refused(shelf: Shelf) -> None:
    shelf.publish("acme/a", "1.0", "acme/b")
    shelf.publish("acme/b", "1.0", "acme/c")
    shelf.publish("acme/c", "1.0", "acme/a")

    with pytest.raises(RequirementsConflict, match="in a circle") as refusal:
        shelf.resolve("acme/a")
    assert "acme/a 1.0 -> acme/b 1.0" in refusal.value.message


def test_more_environments_than_a_small_search_has_steps_are_resolved(shelf: Shelf) -> None:
    names = [f"acme/math-{number}" for number in range(150)]
    for name in names:
        shelf.publish(name, "1.0")

    assert len(shelf.resolve(*names)) == len(names)


def test_a_search_without_end_is_given_up(shelf: Shelf) -> None:
    # Eight pigeons and seven holes: that they do not fit shows only when all ways were tried.
    for hole in range(7):
        for pigeon in range(8):
            shelf.publish(f"acme/hole-{hole}", f"{pigeon}.0")
            shelf.publish(f"acme/pigeon-{pigeon}", f"{hole}.0", f"acme/hole-{hole}=={pigeon}")

    with pytest.raises(RequirementsConflict, match="in 2000 steps"):
        shelf.resolve(*[f"acme/pigeon-{pigeon}" for pigeon in range(8)])
