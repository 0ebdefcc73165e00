"""What a package may contain."""

import pytest

from freesolo.domain.packaging import ENVIRONMENT_LIMITS, Limits, path_problem, tree_problems

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
    "path", ["environment.py", "dataset/train.jsonl", "a b/ü.txt", ".gitignore"]
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
