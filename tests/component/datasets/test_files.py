import json
from pathlib import Path

import pytest

from freesolo.datasets import load_dataset
from freesolo.datasets.records import load_records


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


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


def test_a_broken_line_is_named(tmp_path: Path) -> None:
    with pytest.raises(json.JSONDecodeError, match="Line 2 of"):
        load_records(write(tmp_path, "a.jsonl", '"a"\n{"input": \n'))


def test_a_line_that_is_no_row_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"Line 1 of .*not int"):
        load_records(write(tmp_path, "a.jsonl", "3\n"))


def test_an_object_without_rows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="`data`"):
        load_records(write(tmp_path, "a.json", '{"rows": []}'))


def test_other_formats_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Unsupported dataset extension"):
        load_records(write(tmp_path, "a.parquet", ""))


def test_a_missing_file_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="missing"):
        load_records(tmp_path / "missing.jsonl")
