"""Rows to examples, and the files that rows come from: `.jsonl`, `.json`, `.csv`, `.txt`."""

import csv
import json
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from freesolo.datasets.serialize import serialize_value
from freesolo.datasets.types import Dataset, TaskExample, target_messages

Record = dict[str, Any]
Source = str | Path | Iterable[Record | TaskExample]

_SHOWN_IDS = 5
_SHOWN_CHARS = 80
# Spreadsheets begin their UTF-8 files with a byte order mark.
_ENCODING = "utf-8-sig"


def load_dataset(source: Source) -> Dataset:
    """Read a file, or take rows and examples, as a dataset. See `load_task_examples`."""
    return Dataset(load_task_examples(source))


def load_task_examples(source: Source) -> list[TaskExample]:
    """Read the examples of a file, or of rows that are at hand, numbered by position.

    Ids in the data are ignored: an example is known by its place. Raise `ValueError` for a row
    without `input` or a file of another kind, `FileNotFoundError` for a path that is no file.
    """
    if isinstance(source, Mapping):
        raise TypeError("A dataset is a list of rows, not one row")
    items = load_records(source) if isinstance(source, str | Path) else source
    return [_numbered_example(item, index) for index, item in enumerate(items)]


def load_records(path: str | Path) -> list[Record]:
    """Read the rows of a file by its suffix, with errors that name the line."""
    path = Path(path)
    readers = {".jsonl": _read_jsonl, ".json": _read_json, ".csv": _read_csv, ".txt": _read_txt}
    read = readers.get(path.suffix.lower())
    if read is None:
        raise ValueError(f"Unsupported dataset extension: {path.suffix!r} of {path}")
    if not path.is_file():
        raise FileNotFoundError(f"There is no dataset file {path}")
    return read(path)


def task_example_from_source_item(item: Record | TaskExample) -> TaskExample:
    """Return an example as it is, and a row as an example."""
    return item if isinstance(item, TaskExample) else task_example_from_record(item)


def task_example_from_record(record: object) -> TaskExample:
    """Turn a row into an example. Raise `ValueError` if it has no `input`."""
    if not isinstance(record, dict) or record.get("input") is None:
        raise ValueError(f"Each record must contain input, not only: {_shown(record)}")
    metadata = record.get("metadata")
    return TaskExample(
        record=record,
        input=serialize_value(record["input"]),
        metadata=metadata if isinstance(metadata, dict) else {},
        output=infer_output(record),
    )


def normalize_record(value: object) -> Record:
    """Return an object as it is and text as `{"input": text}`; raise `ValueError` otherwise."""
    if isinstance(value, str):
        return {"input": value}
    if isinstance(value, dict):
        return value
    raise ValueError(f"A row must be an object or text, not {type(value).__name__}")


def infer_output(record: Record) -> object | None:
    """Return the gold answer of a row, None if it has none."""
    return record.get("output")


def stable_example_id(index: int) -> str:
    """Return the id of the example at `index`: `example_000000`, `example_000001`, ..."""
    return f"example_{index:06d}"


def row_of(example: TaskExample) -> int:
    """Return the index that the id of an example was made of; raise `ValueError` if it was not."""
    prefix, _, digits = (example.id or "").partition("_")
    if prefix != "example" or not digits.isdecimal():
        raise ValueError(f"{example.id!r} is not the id of an example in a dataset")
    return int(digits)


def warn_missing_think_tags(examples: Iterable[TaskExample]) -> list[str]:
    """Warn of gold answers without `<think>` and `</think>`, and return the ids of their examples.

    Raise `ValueError` for an example that has a gold answer but no id.
    """
    missing = []
    for example in examples:
        if example.output is None:
            continue
        if example.id is None:
            raise ValueError("An example with an output needs an id")
        if not _thinks(example.output):
            missing.append(example.id)
    if missing:
        shown = ", ".join(missing[:_SHOWN_IDS])
        warnings.warn(f"{len(missing)} gold answers lack <think>...</think>: {shown}", stacklevel=2)
    return missing


def _numbered_example(item: Record | TaskExample, index: int) -> TaskExample:
    try:
        example = task_example_from_source_item(item)
    except ValueError as error:
        raise ValueError(f"Row {index}: {error}") from None
    return replace(example, id=stable_example_id(index))


def _shown(record: object) -> str:
    if isinstance(record, dict):
        filled = [str(key) for key, value in record.items() if value is not None]
        return (", ".join(filled) or "nothing")[:_SHOWN_CHARS]
    return repr(record)[:_SHOWN_CHARS]


def _thinks(output: object) -> bool:
    text = "".join(
        message.get("content") or ""
        for message in target_messages(output)
        if message["role"] == "assistant"
    )
    return "<think>" in text and "</think>" in text


def _read_jsonl(path: Path) -> list[Record]:
    records = []
    for number, line in enumerate(path.read_text(encoding=_ENCODING).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            records.append(normalize_record(json.loads(line)))
        except json.JSONDecodeError as error:
            raise json.JSONDecodeError(
                f"Line {number} of {path}: {error.msg}", error.doc, error.pos
            ) from None
        except ValueError as error:
            raise ValueError(f"Line {number} of {path}: {error}") from None
    return records


def _read_json(path: Path) -> list[Record]:
    document = json.loads(path.read_text(encoding=_ENCODING))
    if isinstance(document, dict):
        document = document.get("data")
    if not isinstance(document, list):
        raise ValueError(f"{path} must hold a list of rows, or an object whose `data` is one")
    return [normalize_record(item) for item in document]


def _read_csv(path: Path) -> list[Record]:
    with path.open(encoding=_ENCODING, newline="") as file:
        return list(csv.DictReader(file))


def _read_txt(path: Path) -> list[Record]:
    lines = path.read_text(encoding=_ENCODING).splitlines()
    return [{"input": line.strip()} for line in lines if line.strip()]
