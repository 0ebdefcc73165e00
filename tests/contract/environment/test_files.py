import csv
import json
import sys
import tracemalloc
from pathlib import Path
from types import ModuleType
from typing import Any

import bson
import pytest

from freesolo.datasets import load_dataset
from freesolo.datasets.files import read_records
from freesolo.datasets.records import load_records
from tests.contract.environment.clauses import clause


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


@clause("C7.2", "C7.3", "C7.4", "C7.5")
@pytest.mark.parametrize(
    ("name", "text", "inputs"),
    [
        ("a.jsonl", '{"input": "a"}\n\n"b"\n', ["a", "b"]),
        ("a.JSONL", "", []),
        ("a.json", '[{"input": "a"}, "b"]', ["a", "b"]),
        ("a.json", '{"data": [{"input": "a"}]}', ["a"]),
        ("a.csv", "input,output\na,1\nb\n", ["a", "b"]),
        ("a.txt", " a \n\nb\n", ["a", "b"]),
    ],
)
def test_every_format_is_read(tmp_path: Path, name: str, text: str, inputs: list[str]) -> None:
    dataset = load_dataset(write(tmp_path, name, text))

    assert [example.input for example in dataset.examples] == inputs


@clause("C7.4")
def test_csv_values_are_text_and_missing_cells_are_absent(tmp_path: Path) -> None:
    first, second = load_dataset(write(tmp_path, "a.csv", "input,output\na,1\nb\n")).examples

    assert first.output == "1"
    assert second.output is None


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "input\na\n"),
        ("a.txt", "a\n"),
        ("a.json", '["a"]'),
        ("a.jsonl", '"a"\n'),
    ],
)
def test_a_byte_order_mark_is_no_part_of_the_data(tmp_path: Path, name: str, text: str) -> None:
    dataset = load_dataset(write(tmp_path, name, f"\ufeff{text}"))

    assert [example.input for example in dataset.examples] == ["a"]


@clause("C7.2")
def test_a_broken_line_is_named(tmp_path: Path) -> None:
    with pytest.raises(json.JSONDecodeError, match="Line 2 of"):
        load_records(write(tmp_path, "a.jsonl", '"a"\n{"input": \n'))


@clause("C7.2")
def test_a_line_that_is_no_row_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"Line 1 of .*not int"):
        load_records(write(tmp_path, "a.jsonl", "3\n"))


@clause("C7.3")
def test_an_object_without_rows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="`data`"):
        load_records(write(tmp_path, "a.json", '{"rows": []}'))


@clause("C7.8")
def test_other_formats_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"Unsupported dataset extension: '\.xml'"):
        load_records(write(tmp_path, "a.xml", ""))


@clause("C7.8")
@pytest.mark.parametrize("name", ["missing.jsonl", "missing.xml", "missing"])
def test_a_missing_file_is_not_found(tmp_path: Path, name: str) -> None:
    with pytest.raises(FileNotFoundError, match="missing"):
        load_records(tmp_path / name)


@clause("C7.8")
@pytest.mark.parametrize("name", ["dataset", "dataset.jsonl"])
def test_a_folder_is_no_file(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(FileNotFoundError, match="dataset"):
        load_records(tmp_path / name)


ROWS: list[dict[str, Any]] = [
    {"input": "2 + 2", "output": "4", "metadata": {"level": 1}},
    {"input": {"question": "why"}, "output": None, "metadata": None},
]


def write_bson(path: Path) -> Path:
    path.write_bytes(b"".join(bson.encode(row) for row in ROWS))
    return path


def write_parquet(path: Path) -> Path:
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = [{"input": f"row {index}", "output": index or None} for index in range(3000)]
    parquet.write_table(pytest.importorskip("pyarrow").Table.from_pylist(rows), path)
    return path


@clause("C7.6")
def test_documents_of_bson_are_rows(tmp_path: Path) -> None:
    path = write_bson(tmp_path / "a.bson")

    assert load_records(path) == ROWS
    assert load_dataset(path).examples[0].output == "4"


@clause("C7.7")
def test_rows_of_parquet_keep_their_types_and_what_is_null_is_absent(tmp_path: Path) -> None:
    examples = load_dataset(write_parquet(tmp_path / "a.parquet")).examples

    assert len(examples) == 3000
    assert [example.output for example in examples[:2]] == [None, 1]
    assert examples[-1].input == "row 2999"


@pytest.mark.parametrize("suffix", [".bson", ".parquet"])
@pytest.mark.parametrize("content", [b"\x05", b"nonsense" * 20, b"\xff" * 64, b"PAR1" * 8])
def test_a_broken_file_is_named(tmp_path: Path, suffix: str, content: bytes) -> None:
    pytest.importorskip("pyarrow")
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)

    with pytest.raises(ValueError, match=rf"a\{suffix} is not"):
        load_records(path)


def test_bson_that_ends_too_early_is_refused(tmp_path: Path) -> None:
    path = write_bson(tmp_path / "a.bson")
    path.write_bytes(path.read_bytes()[:-3])

    with pytest.raises(ValueError, match="is not BSON"):
        load_records(path)


@clause("C7.6", "C7.7")
@pytest.mark.parametrize(
    ("suffix", "module", "package"),
    [
        (".bson", "bson", "pymongo"),
        (".parquet", "pyarrow.parquet", "pyarrow"),
    ],
)
def test_a_format_whose_package_is_missing_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, module: str, package: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)

    with pytest.raises(RuntimeError, match=rf'dependencies = \["{package}"\]'):
        load_records(write(tmp_path, f"a{suffix}", ""))


@clause("C7.6")
def test_another_package_s_module_bson_is_not_taken_for_the_right_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "bson", ModuleType("bson"))

    with pytest.raises(RuntimeError, match="pymongo"):
        load_records(write(tmp_path, "a.bson", ""))


@clause("C7.4")
def test_cells_beyond_the_header_are_kept_apart(tmp_path: Path) -> None:
    (row,) = load_records(write(tmp_path, "a.csv", "input,output\na,1,2,3\n"))

    assert row == {"input": "a", "output": "1", None: ["2", "3"]}


@clause("C7.3")
def test_a_broken_document_is_named(tmp_path: Path) -> None:
    with pytest.raises(json.JSONDecodeError, match=r"a\.json: Expecting"):
        load_records(write(tmp_path, "a.json", "["))


@clause("C7.3")
def test_a_row_of_a_document_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"Row 1 of .*not int"):
        load_records(write(tmp_path, "a.json", '["a", 3]'))


def test_a_cell_beyond_what_csv_holds_names_its_line(tmp_path: Path) -> None:
    cell = "x" * (csv.field_size_limit() + 1)

    with pytest.raises(ValueError, match=r"After line 2 of .*larger than field limit"):
        load_records(write(tmp_path, "a.csv", f"input\na\n{cell}\n"))


@clause("C7.9")
@pytest.mark.parametrize(
    ("name", "line"), [("a.jsonl", b'"input"\n'), ("a.csv", b"input\n"), ("a.txt", b"input\n")]
)
def test_a_row_is_there_before_the_file_has_been_read(
    tmp_path: Path, name: str, line: bytes
) -> None:
    path = tmp_path / name
    path.write_bytes(line * 20_000 + b"\xff")

    rows = read_records(path)

    assert next(rows) == {"input": "input"}
    with pytest.raises(UnicodeDecodeError):
        list(rows)


@clause("C7.9")
def test_many_rows_are_read_in_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"input": "%s"}\n' % ("x" * 1000) * 20_000)
    tracemalloc.start()
    try:
        for _ in read_records(path):
            pass
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < path.stat().st_size / 20


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.txt"])
def test_a_file_that_is_not_utf_8_is_named(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes('"café"\n'.encode("latin-1"))

    with pytest.raises(ValueError, match=name):
        load_records(path)


@clause("C7.2")
@pytest.mark.parametrize("line", ["[" * 100_000, f'{{"input": {"9" * 5000}}}'])
def test_a_line_that_python_cannot_hold_is_named(tmp_path: Path, line: str) -> None:
    with pytest.raises(ValueError, match=r"Line 2 of .*a\.jsonl"):
        load_records(write(tmp_path, "a.jsonl", f'"a"\n{line}\n'))
