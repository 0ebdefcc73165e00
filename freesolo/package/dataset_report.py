"""What a dataset holds, told in numbers: rows, columns, lengths, repetitions, overlaps, a preview.

It is read as a stream and within limits, and a broken file is a finding, never an error: the hub
makes this report of whatever is published.
"""

import hashlib
import json
import math
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import PurePosixPath
from typing import IO

from freesolo.package.dataset_rows import DATASET, Budget, Row, RowFile, has_rows
from freesolo.schemas.contents import (
    Cell,
    Column,
    DatasetFinding,
    DatasetReport,
    Lengths,
    Shared,
    Split,
)

MAX_ROWS = 100_000
MAX_BYTES = 16 << 20
_MAX_SPLITS = 32
_MAX_COLUMNS = 40
_MAX_NAME = 100
_PREVIEW_ROWS = 20
_PREVIEW_CHARS = 64_000
_CELL_CHARS = 400
_LARGEST_INT = 2**53  # what a page can show without rounding it
_CANONICAL = json.JSONEncoder(sort_keys=True)
_READABLE = json.JSONEncoder(ensure_ascii=False)
_TYPES = {
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
    list: "array",
    dict: "object",
    type(None): "null",
}


@dataclass
class Summary:
    """What is known of a split after some of its rows; rows and inputs by their fingerprints."""

    count: int = 0
    rows: set[int] = field(default_factory=set)
    inputs: set[int] = field(default_factory=set)
    columns: dict[str, "_Values"] = field(default_factory=dict)
    preview: list[dict[str, Cell]] = field(default_factory=list)
    preview_chars: int = 0
    has_more_columns: bool = False


@dataclass
class _Values:
    """What is known of a column: its types, and the length of each value that is not empty."""

    types: Counter[str] = field(default_factory=Counter)
    lengths: "array[int]" = field(default_factory=lambda: array("L"))


def dataset_report(files: Iterable[tuple[str, IO[bytes]]]) -> DatasetReport:
    """Report on those of `files`, each a path and its bytes, that are the dataset's.

    At most `MAX_ROWS` rows and `MAX_BYTES` bytes are read in all.
    """
    budget = Budget(MAX_ROWS, MAX_BYTES)
    summaries: dict[str, Summary] = {}
    splits: list[Split] = []
    findings: list[DatasetFinding] = []
    for path, stream in files:
        if reason := _passed_over(path, len(splits)):
            findings.append(DatasetFinding(path=path, code="not_read", message=reason))
        elif has_rows(path):
            rows = RowFile(path, stream, budget)
            summaries[path] = summarize(rows)
            splits.append(_split(rows, summaries[path]))
            findings += [*rows.findings, *_remarks(path, summaries[path])]
    return DatasetReport(
        splits=splits,
        shared=list(_overlaps(summaries)),
        findings=findings,
        max_rows=MAX_ROWS,
        max_bytes=MAX_BYTES,
    )


def summarize(rows: Iterable[Row]) -> Summary:
    """Count what is to be known of a split's rows, each looked at once."""
    summary = Summary()
    for row in rows:
        summary.count += 1
        summary.rows.add(fingerprint({key: row[key] for key in row if key != "id"}))
        if row.get("input") is not None:
            summary.inputs.add(fingerprint(row["input"]))
        _count_values(summary, row)
        if len(summary.preview) < _PREVIEW_ROWS and summary.preview_chars < _PREVIEW_CHARS:
            shown = shown_row(row)
            summary.preview_chars += sum(len(str(cell)) for cell in shown.values())
            summary.preview.append(shown)
    return summary


def fingerprint(value: object) -> int:
    """Return a number that is the same for equal JSON values, whatever the order of their keys."""
    text = _CANONICAL.encode(value).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest())


def shown_row(row: Row) -> dict[str, Cell]:
    """Return a row as it is shown: long values cut, lists and objects as their JSON."""
    names = list(row)[:_MAX_COLUMNS]
    return {_storable(name, _MAX_NAME): _cell(row[name]) for name in names}


def _passed_over(path: str, splits: int) -> str | None:
    """Say why a file of the dataset is not read; None if it is, or is none."""
    if not path.startswith(DATASET):
        return None
    if not has_rows(path):
        return "Only .jsonl, .json, .csv and .txt files are looked into."
    return f"Only {_MAX_SPLITS} files are looked into." if splits >= _MAX_SPLITS else None


def _remarks(path: str, summary: Summary) -> Iterator[DatasetFinding]:
    if summary.count == 0:
        yield DatasetFinding(path=path, code="no_rows", message="There are no rows in it.")
    if summary.has_more_columns:
        message = f"Only the first {_MAX_COLUMNS} columns are counted."
        yield DatasetFinding(path=path, code="many_columns", message=message)


def _overlaps(summaries: dict[str, Summary]) -> Iterator[Shared]:
    for (first, a), (second, b) in combinations(summaries.items(), 2):
        rows, inputs = len(a.rows & b.rows), len(a.inputs & b.inputs)
        if rows or inputs:
            yield Shared(first=first, second=second, rows=rows, inputs=inputs)


def _count_values(summary: Summary, row: Row) -> None:
    for name, value in row.items():
        values = summary.columns.get(name)
        if values is None:
            if len(summary.columns) == _MAX_COLUMNS:
                summary.has_more_columns = True
                continue
            values = summary.columns[name] = _Values()
        values.types[_TYPES[type(value)]] += 1
        if not _is_empty(value):
            values.lengths.append(len(_as_text(value)))


def _is_empty(value: object) -> bool:
    if isinstance(value, str):
        return not value.strip()
    return value is None or (isinstance(value, list | dict) and not value)


def _split(rows: RowFile, summary: Summary) -> Split:
    return Split(
        name=PurePosixPath(rows.path).stem,
        path=rows.path,
        rows=summary.count,
        duplicates=summary.count - len(summary.rows),
        broken=rows.broken,
        complete=rows.complete,
        columns=[_column(name, values, summary) for name, values in summary.columns.items()],
        preview=summary.preview,
    )


def _column(name: str, values: _Values, summary: Summary) -> Column:
    return Column(
        name=_storable(name, _MAX_NAME),
        types=dict(sorted(values.types.items())),
        empty=summary.count - len(values.lengths),
        lengths=_lengths(sorted(values.lengths)),
    )


def _lengths(ordered: list[int]) -> Lengths | None:
    if not ordered:
        return None
    return Lengths(
        min=ordered[0],
        median=_nearest_rank(ordered, 0.5),
        p95=_nearest_rank(ordered, 0.95),
        max=ordered[-1],
    )


def _nearest_rank(ordered: list[int], share: float) -> int:
    return ordered[math.ceil(share * len(ordered)) - 1]


def _cell(value: object) -> Cell:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int) and abs(value) <= _LARGEST_INT:
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    return _storable(_as_text(value), _CELL_CHARS)


def _as_text(value: object) -> str:
    return value if isinstance(value, str) else _READABLE.encode(value)


def _storable(text: str, limit: int) -> str:
    """Cut a text, and take out what no database keeps: NUL, and halves of surrogate pairs."""
    kept = text if len(text) <= limit else f"{text[:limit]}…"
    return kept.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
