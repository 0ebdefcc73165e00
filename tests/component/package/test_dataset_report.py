"""Reports on datasets: right about good files, and never stopped by bad ones."""

import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freesolo.datasets.records import load_records
from freesolo.package import dataset_report as reporting
from freesolo.package.dataset_report import dataset_report, summarize
from freesolo.package.dataset_rows import Budget, Row, RowFile
from freesolo.schemas.contents import Column, DatasetReport, Lengths, Shared, Split


def report(**files: str | bytes) -> DatasetReport:
    """Report on `dataset/<name>`, where `train_jsonl` stands for the file train.jsonl."""
    return dataset_report(
        (f"dataset/{name.replace('_', '.')}", io.BytesIO(_bytes(content)))
        for name, content in files.items()
    )


def split(**files: str | bytes) -> Split:
    return report(**files).splits[0]


def lines(*rows: object) -> str:
    return "".join(f"{json.dumps(row)}\n" for row in rows)


def _bytes(content: str | bytes) -> bytes:
    return content.encode() if isinstance(content, str) else content


def codes(**files: str | bytes) -> list[tuple[int | None, str]]:
    return [(finding.line, finding.code) for finding in report(**files).findings]


def test_a_split_is_counted_and_its_columns_are_described() -> None:
    rows = [{"input": "a" * n, "output": n, "tags": ["x"]} for n in range(1, 101)]
    train = split(train_jsonl=lines(*rows, {"input": " ", "output": None, "tags": []}))
    assert (train.name, train.path, train.rows) == ("train", "dataset/train.jsonl", 101)
    assert train.columns == [
        Column(
            name="input",
            types={"string": 101},
            empty=1,
            lengths=Lengths(min=1, median=50, p95=95, max=100),
        ),
        Column(
            name="output",
            types={"integer": 100, "null": 1},
            empty=1,
            lengths=Lengths(min=1, median=2, p95=2, max=3),
        ),
        Column(
            name="tags",
            types={"array": 101},
            empty=1,
            lengths=Lengths(min=5, median=5, p95=5, max=5),
        ),
    ]


def test_a_column_that_only_some_rows_have_is_empty_in_the_others() -> None:
    columns = split(train_jsonl=lines({"input": "a"}, {"input": "b", "note": "c"})).columns
    assert {column.name: column.empty for column in columns} == {"input": 0, "note": 1}


def test_a_column_without_a_value_has_no_lengths() -> None:
    assert split(train_jsonl=lines({"input": None})).columns[0].lengths is None


def test_rows_that_differ_only_in_id_and_order_of_keys_are_duplicates() -> None:
    rows = ({"id": 1, "input": "a", "x": 1}, {"id": 2, "x": 1, "input": "a"}, {"input": "b"})
    assert split(train_jsonl=lines(*rows)).duplicates == 1


def test_what_two_splits_share_is_told() -> None:
    found = report(
        train_jsonl=lines({"input": "a", "output": 1}, {"input": "b"}, {"input": "b"}),
        heldout_jsonl=lines({"input": "a", "output": 2}, {"id": 7, "input": "b"}),
        other_jsonl=lines({"input": "c"}),
    )
    assert found.shared == [
        Shared(first="dataset/train.jsonl", second="dataset/heldout.jsonl", rows=1, inputs=2)
    ]


def test_the_first_rows_are_shown_with_long_values_cut() -> None:
    rows: list[object] = [{"input": "x" * 1000, "n": i, "list": [1, "ü"]} for i in range(30)]
    preview = split(train_jsonl=lines(*rows)).preview
    assert len(preview) == 20
    assert preview[3] == {"input": "x" * 400 + "…", "n": 3, "list": '[1, "ü"]'}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", '\ufeff{"input": "ü"}\r\n\n"text"\n'),
        ("a.json", '[{"input": 1}, "text"]'),
        ("a.json", '\ufeff{"data": [{"input": 1}]}'),
        ("a.csv", '\ufeffinput,output\n"a\nb",1\n\nc\n'),
        ("a.txt", "\ufeff one \n\n two\x0bthree"),
        ("A.JSONL", '{"input": 1}'),
        ("a.csv", ""),
    ],
)
def test_rows_are_those_that_training_reads(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_bytes(content.encode())
    with (tmp_path / name).open("rb") as file:
        rows = RowFile(f"dataset/{name}", file, Budget(100, 10_000))
        assert list(rows) == load_records(tmp_path / name)
    assert rows.findings == []


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b'{"input": 1}\n{"input": \n{"input": 2}\n', 2),
        (b'{"input": 1}\n[1, 2]\n{"input": 2}\n', 2),
        (b'{"input": 1}\n{"input": 2}\n\xff\xfe\n', 3),
        (b'{"input": 1}\n' + b"[" * 100_000 + b'\n{"input": 2}', 2),
        (b'{"input": 1}\n{"x":' + b"[" * 70 + b"]" * 70 + b'}\n{"input": 2}', 2),
        (b'{"input": 1}\n{"x": ' + b"9" * 5000 + b'}\n{"input": 2}', 2),
    ],
)
def test_a_broken_line_is_told_and_the_others_are_counted(content: bytes, line: int) -> None:
    found = report(train_jsonl=content)
    assert [(each.line, each.code) for each in found.findings] == [(line, "broken_row")]
    assert (found.splits[0].rows, found.splits[0].broken) == (2, 1)


@pytest.mark.parametrize(
    ("name", "content"), [("a_jsonl", "{\n" * 5000), ("a_json", f"[{'1,' * 5000}1]")]
)
def test_of_many_broken_rows_the_first_are_told_and_the_file_is_given_up(
    name: str, content: str
) -> None:
    found = report(**{name: content})
    assert [finding.code for finding in found.findings] == [*["broken_row"] * 5, "no_rows"]
    assert (found.splits[0].broken, found.splits[0].complete) == (1000, False)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a_json", b'{"rows": []}'),
        ("a_json", b"[1"),
        ("a_json", b"\xff"),
        ("a_json", b"[" * 100_000),
        ("a_csv", b"a,b\n" + b"x" * 200_000 + b",1\n"),
    ],
)
def test_a_broken_file_is_told(name: str, content: bytes) -> None:
    found = report(**{name: content})
    assert {"broken_file", "no_list"} & {finding.code for finding in found.findings}
    assert not found.splits[0].complete


def test_values_without_a_column_are_told() -> None:
    assert codes(a_csv="input\na,b\nc\n") == [(2, "extra_values")]


def test_short_rows_below_a_wide_header_cost_what_they_are_filled_up_with() -> None:
    header = ",".join(f"c{number}" for number in range(1000))
    stream = io.BytesIO((header + "\n1" * 1000).encode())
    rows = RowFile("dataset/a.csv", stream, Budget(1000, 100_000))
    assert 0 < len(list(rows)) < 20
    assert not rows.complete


def test_a_file_without_rows_is_told() -> None:
    assert codes(a_jsonl="\n\n") == [(None, "no_rows")]


def test_a_file_of_another_kind_is_told_and_what_is_elsewhere_is_not_looked_at() -> None:
    files = [("dataset/a.parquet", io.BytesIO(b"PAR1")), ("data/a.jsonl", io.BytesIO(b"{"))]
    found = dataset_report(files)
    assert [(each.path, each.code) for each in found.findings] == [
        ("dataset/a.parquet", "not_read")
    ]
    assert found.splits == []


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.txt"])
def test_no_more_rows_and_bytes_are_read_than_allowed(name: str) -> None:
    content = b'"input"\n' + b'"x"\n' * 100
    few = RowFile(f"dataset/{name}", io.BytesIO(content), Budget(rows=10, bytes=10_000))
    assert (len(list(few)), few.complete) == (10, False)
    short = RowFile(f"dataset/{name}", io.BytesIO(content), Budget(rows=1000, bytes=48))
    assert len(list(short)) in (10, 11)
    assert not short.complete


def test_what_one_file_takes_another_does_not_get() -> None:
    budget = Budget(rows=3, bytes=1000)
    first, second = (RowFile("dataset/a.txt", io.BytesIO(b"x\ny\n"), budget) for _ in range(2))
    assert (len(list(first)), len(list(second))) == (2, 1)
    assert (first.complete, second.complete) == (True, False)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a_jsonl", b'{"input": "' + b"x" * (2 << 20) + b'"}'),
        ("a_json", b'["' + b"x" * (9 << 20) + b'"]'),
    ],
)
def test_what_would_not_fit_into_memory_is_left_out_and_told(name: str, content: bytes) -> None:
    found = report(**{name: content})
    assert "too_large" in {finding.code for finding in found.findings}
    assert not found.splits[0].complete


def test_columns_and_files_beyond_count_are_told() -> None:
    found = report(a_jsonl=lines({str(n): n for n in range(100)}))
    assert len(found.splits[0].columns) == len(found.splits[0].preview[0]) == 40
    assert [finding.code for finding in found.findings] == ["many_columns"]
    many = report(**{f"a{n}_txt": "x" for n in range(40)})
    assert len(many.splits) == 32
    assert {finding.code for finding in many.findings} == {"not_read"}


def test_nothing_that_a_database_cannot_keep_is_in_a_report() -> None:
    row = r'{"a\u0000\ud800": "x\u0000\udfff", "n": NaN, "i": Infinity, "big": 1e999, "k": 99999999999999999999}'
    found = report(a_jsonl=row)
    stored = json.dumps(found.model_dump(mode="json"), ensure_ascii=False, allow_nan=False)
    assert "\0" not in stored
    assert "\\u0000" not in stored
    stored.encode()
    assert found.splits[0].preview[0]["k"] == "99999999999999999999"


def test_the_preview_of_a_wide_dataset_is_bounded() -> None:
    row: Row = {str(column): "x" * 400 for column in range(64)}
    assert len(summarize([row] * 1000).preview) == 4


@given(
    st.sampled_from(["a_jsonl", "a_json", "a_csv", "a_txt"]),
    st.one_of(
        st.binary(max_size=300),
        st.text(alphabet='{}[]",:\n\r\\ua0\0é', max_size=100).map(str.encode),
        st.recursive(
            st.none() | st.booleans() | st.floats() | st.text(max_size=5) | st.integers(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=3), inner),
            max_leaves=10,
        ).map(lambda value: json.dumps(value).encode()),
    ),
)
def test_any_bytes_have_a_report(name: str, content: bytes) -> None:
    found = report(**{name: content})
    assert DatasetReport.model_validate_json(found.model_dump_json()) == found


def test_a_report_says_how_far_it_read() -> None:
    found = report()
    assert (found.max_rows, found.max_bytes) == (reporting.MAX_ROWS, reporting.MAX_BYTES)
