"""The tree digest: independent of order, sensitive to everything that matters."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from freesolo.domain.tree import TreeFile, tree_changes, tree_digest

FILES = st.lists(
    st.builds(
        TreeFile,
        path=st.text(min_size=1, max_size=20),
        size=st.integers(0, 10**9),
        sha256=st.from_regex(r"[0-9a-f]{64}", fullmatch=True),
        executable=st.booleans(),
    ),
    min_size=1,
    max_size=5,
    unique_by=lambda file: file.path,
)


@given(files=FILES)
def test_the_order_of_the_files_does_not_matter(files: list[TreeFile]) -> None:
    assert tree_digest(files) == tree_digest(reversed(files))


@given(files=FILES)
def test_any_change_to_a_file_changes_the_digest(files: list[TreeFile]) -> None:
    first, *rest = files
    changed = [
        replace(first, size=first.size + 1),
        replace(first, executable=not first.executable),
        replace(first, path=first.path + "x" * 21),
        replace(first, sha256="0" * 63 + ("1" if first.sha256[-1] == "0" else "0")),
    ]
    before = tree_digest(files)
    assert all(tree_digest([other, *rest]) != before for other in changed)


def test_changes_are_told_by_path() -> None:
    old = [
        TreeFile("a", 1, "1"),
        TreeFile("b", 2, "2"),
        TreeFile("c", 3, "3"),
        TreeFile("e", 0, ""),
    ]
    new = [
        TreeFile("d", 4, "4"),
        TreeFile("c", 3, "3", executable=True),
        TreeFile("b", 5, "5"),
        old[3],
    ]

    assert [(change.path, change.code, change.message) for change in tree_changes(old, new)] == [
        ("a", "removed", "removed, 1 bytes"),
        ("b", "changed", "changed, 2 -> 5 bytes"),
        ("c", "changed", "changed, now executable"),
        ("d", "added", "added, 4 bytes"),
    ]


def test_a_change_that_no_size_shows_is_told() -> None:
    old = [TreeFile("a", 1, "1"), TreeFile("b", 1, "1", executable=True)]
    new = [TreeFile("a", 1, "2"), TreeFile("b", 1, "1")]

    messages = [change.message for change in tree_changes(old, new)]

    assert messages == ["changed, 1 other bytes", "changed, no longer executable"]


@given(old=FILES, new=FILES)
def test_trees_differ_where_their_digests_do(old: list[TreeFile], new: list[TreeFile]) -> None:
    assert tree_changes(old, old) == []
    assert bool(tree_changes(old, new)) == (tree_digest(old) != tree_digest(new))
