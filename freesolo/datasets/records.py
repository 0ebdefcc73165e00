"""Rows to examples."""

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from freesolo.datasets.files import Record, normalize_record, read_records
from freesolo.datasets.serialize import serialize_value
from freesolo.datasets.types import Dataset, TaskExample, target_messages

__all__ = [
    "infer_output",
    "load_dataset",
    "load_records",
    "load_task_examples",
    "normalize_record",
    "row_of",
    "stable_example_id",
    "task_example_from_record",
    "task_example_from_source_item",
    "warn_missing_think_tags",
]

Source = str | Path | Iterable[Record | TaskExample]

_SHOWN_IDS = 5
_SHOWN_CHARS = 80


def load_dataset(source: Source) -> Dataset:
    """Read a file, or take rows and examples, as a dataset. See `load_task_examples`."""
    return Dataset(load_task_examples(source))


def load_task_examples(source: Source) -> list[TaskExample]:
    """Read the examples of a file, or of rows that are at hand, numbered by position.

    Ids in the data are ignored: an example is known by its place. Raise `ValueError` for a row
    without `input` or a file of another kind, `FileNotFoundError` for a path that is no file.
    """
    if isinstance(source, Mapping):
        # Of the class that the public SDK raises here.
        raise AttributeError("A dataset is a list of rows, not one row")
    items = read_records(source) if isinstance(source, str | Path) else source
    return [_numbered_example(item, index) for index, item in enumerate(items)]


def load_records(path: str | Path) -> list[Record]:
    """Read the rows of a file by its suffix, with errors that name the line."""
    return list(read_records(path))


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
