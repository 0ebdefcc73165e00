"""The files that rows come from: `.jsonl`, `.json`, `.csv`, `.txt`, `.bson`, `.parquet`.

All but `.json` are read as a stream, so that no more than a row or a batch of them is held twice.
"""

import csv
import importlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

Record = dict[str, Any]

# Spreadsheets begin their UTF-8 files with a byte order mark.
_ENCODING = "utf-8-sig"
_BATCH_ROWS = 1024


def read_records(path: str | Path) -> Iterator[Record]:
    """Return the rows of a file by its suffix; errors name the file, and the line if it has lines.

    Raise `FileNotFoundError` for what is no file and `ValueError` for a file of another kind at
    once; while the rows are read `ValueError`, of which `json.JSONDecodeError` is one, for what
    cannot be read, and `RuntimeError` if the package that reads the format is not installed.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no dataset file {path}")
    read = _READERS.get(path.suffix.lower())
    if read is None:
        raise ValueError(f"Unsupported dataset extension: {path.suffix!r} of {path}")
    return _naming(path, read(path))


def normalize_record(value: object) -> Record:
    """Return an object as it is and text as `{"input": text}`; raise `ValueError` otherwise."""
    if isinstance(value, str):
        return {"input": value}
    if isinstance(value, dict):
        return value
    raise ValueError(f"A row must be an object or text, not {type(value).__name__}")


def _naming(path: Path, rows: Iterator[Record]) -> Iterator[Record]:
    try:
        yield from rows
    except UnicodeDecodeError as error:
        error.reason = f"{error.reason}, in {path}"
        raise


def _read_jsonl(path: Path) -> Iterator[Record]:
    # Lines end with "\n" alone: JSON may hold the other characters that Python takes for ends.
    with path.open(encoding=_ENCODING, newline="\n") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield _row_of_json(line, f"Line {number} of {path}")


def _row_of_json(text: str, place: str) -> Record:
    value = _parse(text, place)
    try:
        return normalize_record(value)
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from None


def _parse(text: str, place: str) -> object:
    try:
        value: object = json.loads(text)
    except json.JSONDecodeError as error:
        raise json.JSONDecodeError(f"{place}: {error.msg}", error.doc, error.pos) from None
    except (ValueError, RecursionError) as error:  # a number, or a nesting, without end
        raise ValueError(f"{place}: {error}") from None
    return value


def _read_json(path: Path) -> Iterator[Record]:
    document = _parse(path.read_text(encoding=_ENCODING), str(path))
    rows = document.get("data") if isinstance(document, dict) else document
    if not isinstance(rows, list):
        raise ValueError(f"{path} must hold a list of rows, or an object whose `data` is one")
    for index, row in enumerate(rows):
        try:
            yield normalize_record(row)
        except ValueError as error:
            raise ValueError(f"Row {index} of {path}: {error}") from None


def _read_csv(path: Path) -> Iterator[Record]:
    with path.open(encoding=_ENCODING, newline="") as file:
        reader = csv.DictReader(file)
        try:
            yield from reader
        except csv.Error as error:
            raise ValueError(f"After line {reader.line_num} of {path}: {error}") from None


def _read_txt(path: Path) -> Iterator[Record]:
    with path.open(encoding=_ENCODING) as file:
        for text in file:
            yield from ({"input": line.strip()} for line in text.splitlines() if line.strip())


def _read_bson(path: Path) -> Iterator[Record]:
    decode_file_iter = _installed("bson", "decode_file_iter", package="pymongo", path=path)
    broken = _installed("bson.errors", "BSONError", package="pymongo", path=path)
    with path.open("rb") as file:
        try:
            yield from decode_file_iter(file)
        except broken as error:
            raise ValueError(f"{path} is not BSON: {error}") from None


def _read_parquet(path: Path) -> Iterator[Record]:
    open_file = _installed("pyarrow.parquet", "ParquetFile", package="pyarrow", path=path)
    broken = _installed("pyarrow", "ArrowException", package="pyarrow", path=path)
    try:
        with open_file(path) as file:
            for batch in file.iter_batches(batch_size=_BATCH_ROWS):
                yield from batch.to_pylist()
    except broken as error:
        raise ValueError(f"{path} is not Parquet: {error}") from None


def _installed(module: str, name: str, *, package: str, path: Path) -> Any:  # noqa: ANN401 - not ours
    """Return a thing that only some packages' module of this name has."""
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError):
        raise RuntimeError(
            f"{path} needs the package {package} to be read: "
            f'put `dependencies = ["{package}"]` into environment.toml'
        ) from None


_READERS: dict[str, Callable[[Path], Iterator[Record]]] = {
    ".jsonl": _read_jsonl,
    ".json": _read_json,
    ".csv": _read_csv,
    ".txt": _read_txt,
    ".bson": _read_bson,
    ".parquet": _read_parquet,
}
