"""Differences of two states of an environment: every file, rows by id or content, code first."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from freesolo.package.difference import Difference, RowChanges, Tree, compare

DATA = "dataset/train.jsonl"


def tree(folder: Path, **files: str | bytes) -> Tree:
    """Write a tree; `environment_py` stands for environment.py, `dataset__a_csv` for dataset/a.csv."""
    paths = []
    folder.mkdir()
    for name, content in files.items():
        path = name.replace("__", "/").replace("_", ".")
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_bytes(content.encode() if isinstance(content, str) else content)
        paths.append(path)
    return Tree(folder, tuple(paths))


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return tmp_path / "old"


@pytest.fixture
def new(tmp_path: Path) -> Path:
    return tmp_path / "new"


def lines(rows: Sequence[object]) -> str:
    return "".join(f"{json.dumps(row)}\n" for row in rows)


def rows_between(
    folders: tuple[Path, Path], before: Sequence[object], after: Sequence[object]
) -> RowChanges:
    """Compare two datasets of one file."""
    old, new = folders
    return compare(
        tree(old, dataset__train_jsonl=lines(before)), tree(new, dataset__train_jsonl=lines(after))
    ).rows[0]


def test_equal_trees_do_not_differ(old: Path, new: Path) -> None:
    same = {"environment_py": "x = 1\n", "dataset__train_jsonl": '{"input": 1}\n'}
    before, after = tree(old, **same), tree(new, **same)
    assert compare(before, after) == Difference((), (), ())
    assert before.digest == after.digest


def test_every_file_that_changed_is_named(old: Path, new: Path) -> None:
    before = tree(old, a_txt="a", gone_bin=b"\0", same_txt="s")
    after = tree(new, a_txt="b", fresh_bin=b"\0\0", same_txt="s")
    found = compare(before, after)
    assert [(file.path, file.code) for file in found.files] == [
        ("a.txt", "changed"),
        ("fresh.bin", "added"),
        ("gone.bin", "removed"),
    ]


def test_rows_with_ids_are_matched_by_them(old: Path, new: Path) -> None:
    found = rows_between(
        (old, new),
        [{"id": 1, "input": "a"}, {"id": 2, "input": "b"}, {"id": 3, "input": "c"}],
        [{"id": 3, "input": "c"}, {"id": 2, "input": "B"}, {"id": "1", "input": "a"}],
    )
    assert (found.path, found.matched_by, found.complete) == (DATA, "id", True)
    assert found.counts == {"added": 1, "removed": 1, "changed": 1}
    assert [(each.kind, each.old, each.new) for each in found.examples] == [
        ("added", None, {"id": "1", "input": "a"}),
        ("removed", {"id": 1, "input": "a"}, None),
        ("changed", {"id": 2, "input": "b"}, {"id": 2, "input": "B"}),
    ]


@pytest.mark.parametrize(
    "ids", [[None, None, None], [1, 1, 2], [1, 2, None]], ids=["none", "twice", "some"]
)
def test_rows_without_ids_of_their_own_are_matched_by_content(
    old: Path, new: Path, ids: list[int | None]
) -> None:
    before = [{"id": n, "input": text} for n, text in zip(ids, "aab", strict=True)]
    after = [*before[1:], {"id": ids[0], "input": "c"}]
    found = rows_between((old, new), before, after)
    assert found.matched_by == "content"
    assert found.counts == {"added": 1, "removed": 1, "changed": 0}
    assert [each.new for each in found.examples if each.new] == [{"id": ids[0], "input": "c"}]


def test_a_row_that_is_there_once_more_was_added(old: Path, new: Path) -> None:
    found = rows_between((old, new), [{"input": "a"}], [{"input": "a"}] * 3)
    assert found.counts == {"added": 2, "removed": 0, "changed": 0}
    assert len(found.examples) == 1


def test_only_a_few_examples_are_shown_and_long_values_cut(old: Path, new: Path) -> None:
    found = rows_between((old, new), [], [{"input": f"{n}" * 1000} for n in range(10)])
    assert found.counts["added"] == 10
    assert [str(each.new and each.new["input"])[-1] for each in found.examples] == ["…"] * 3


def test_the_rows_of_a_new_file_were_all_added(old: Path, new: Path) -> None:
    found = compare(tree(old), tree(new, dataset__train_csv="id,input\n1,a\n2,b\n"))
    assert found.rows[0].counts == {"added": 2, "removed": 0, "changed": 0}
    assert found.patches == ()


def test_what_can_be_read_of_a_broken_dataset_is_compared(old: Path, new: Path) -> None:
    found = compare(
        tree(old, dataset__train_jsonl='{"input": 1}\n'),
        tree(new, dataset__train_jsonl='{"input": 1}\n{"input":\n'),
    )
    assert found.rows[0].counts == {"added": 0, "removed": 0, "changed": 0}
    assert not found.rows[0].complete


def test_code_that_decides_about_rewards_comes_first(old: Path, new: Path) -> None:
    names = ("README_md", "a_py", "environment_py", "environment_toml", "evaluations_py", "x_json")
    found = compare(tree(old), tree(new, **dict.fromkeys(names, "text\n")))
    assert [patch.path for patch in found.patches] == [
        "environment.py",
        "evaluations.py",
        "a.py",
        "environment.toml",
        "README.md",
        "x.json",
    ]


def test_texts_are_compared_line_by_line(old: Path, new: Path) -> None:
    found = compare(
        tree(old, environment_py="def reward():\n    return 1\n", gone_py="x\n"),
        tree(new, environment_py="def reward():\n    return 2\n"),
    )
    assert found.patches[0].lines == (
        "--- environment.py",
        "+++ environment.py",
        "@@ -1,2 +1,2 @@",
        " def reward():",
        "-    return 1",
        "+    return 2",
    )
    assert found.patches[1].lines[:2] == ("--- gone.py", "+++ /dev/null")


@pytest.mark.parametrize("content", [b"\xff\xfe", b"a\0b", b"x" * (1 << 20)])
def test_what_is_no_text_or_too_long_is_only_named(old: Path, new: Path, content: bytes) -> None:
    found = compare(tree(old, a_bin=b"text"), tree(new, a_bin=content))
    assert len(found.files) == 1
    assert found.patches == ()


def test_a_file_that_became_executable_changed(old: Path, new: Path) -> None:
    before, after = tree(old, run_sh="ls\n"), tree(new, run_sh="ls\n")
    (new / "run.sh").chmod(0o755)
    found = compare(before, after)
    assert [(file.code, file.message) for file in found.files] == [
        ("changed", "changed, now executable")
    ]
    assert found.patches == ()
