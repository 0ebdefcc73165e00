"""What a package may contain."""

import pytest

from freesolo.domain.packaging import (
    ENVIRONMENT_LIMITS,
    Limits,
    PathSet,
    never_packed,
    path_problem,
    tree_problems,
)

SMALL = Limits(max_files=2, max_file_bytes=10, max_tree_bytes=15, max_archive_bytes=100)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/etc/passwd",
        "../up",
        "a/../b",
        "a/./b",
        "a//b",
        "a\\b",
        "c:/x",
        "a\x00b",
        "a\nb",
        "e\u0301.txt",
        "con",
        "a" * 256,
        "ä" * 128,
        "a/" * 600 + "b",
        "a/NUL.txt",
        "con.tar.gz",
        "com\u00b9",
        "/".join("a" * 33),
        "lpt9",
        "a.",
        "a /b",
        ".git/config",
        "x/__pycache__/y.pyc",
    ],
)
def test_a_path_that_some_system_would_misread_is_refused(path: str) -> None:
    assert path_problem(path)


@pytest.mark.parametrize(
    "path",
    [
        "environment.py",
        "dataset/train.jsonl",
        "a b/ü.txt",
        ".gitignore",
        "console",
        "/".join("a" * 32),
    ],
)
def test_an_ordinary_path_is_accepted(path: str) -> None:
    assert path_problem(path) is None


def test_names_that_differ_only_in_case_collide() -> None:
    problems = tree_problems([("A.txt", 1), ("a.txt", 1)], ENVIRONMENT_LIMITS)
    assert [problem.path for problem in problems] == ["a.txt"]


@pytest.mark.parametrize(
    "sizes",
    [
        [("a", 11)],
        [("a", 8), ("b", 8)],
        [("a", 1), ("b", 1), ("c", 1)],
    ],
)
def test_a_tree_beyond_a_limit_is_refused(sizes: list[tuple[str, int]]) -> None:
    assert [problem.code for problem in tree_problems(sizes, SMALL)] == ["size"]


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        (".git", ".git"),
        (".GIT", ".git"),
        (".env", ".env"),
        (".Env.Local", ".env.*"),
        ("server.pem", "*.pem"),
        ("id_rsa.pub", "id_rsa*"),
        ("a.pyc", "*.py[co]"),
        (".env.example", None),
        (".gitignore", None),
        ("environment.py", None),
        ("monkey", None),
    ],
)
def test_what_is_never_packed_is_told_by_its_rule(name: str, rule: str | None) -> None:
    assert never_packed(name) == rule


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("a", "a"),
        ("a", "A"),
        ("a", "a/b"),
        ("a/b", "a"),
        ("A/x", "a/y"),
        ("stra\u00dfe", "STRASSE"),
        ("\u00c5", "\u00e5"),
    ],
)
def test_paths_that_some_system_takes_for_one_collide(first: str, second: str) -> None:
    paths = PathSet()
    assert paths.add(first) is None
    assert paths.add(second) is not None


def test_paths_in_one_folder_do_not_collide() -> None:
    paths = PathSet()
    assert paths.add("a", is_folder=True) is None
    assert all(paths.add(path) is None for path in ("a/b", "a/c", "a-b", "b/a/b"))
