"""The rows of a dataset file, read as a stream and never refused: what is broken is told beside them.

`freesolo.datasets` reads the same files for training and raises at the first fault.
"""

import codecs
import csv
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import PurePosixPath
from typing import IO

from pydantic import JsonValue

from freesolo.datasets.records import normalize_record
from freesolo.schemas.contents import DatasetFinding

DATASET = "dataset/"
_SUFFIXES = (".jsonl", ".json", ".csv", ".txt")

Row = dict[str, JsonValue]

# A line of JSON becomes many times its size in memory, and a whole document all of it at once.
_MAX_LINE = 1 << 20
_MAX_DOCUMENT = 4 << 20
_MAX_DEPTH = 64
# What a value that a row of CSV leaves out counts for: about what JSON would need to say so. Else a
# row of two bytes could be made as wide as the longest header, any number of times.
_MISSING_BYTES = 8
_MAX_FINDINGS = 5
# A file with so many broken rows is of another kind than its name says.
_MAX_BROKEN = 1000


@dataclass
class Budget:
    """What may still be read: rows, and bytes; and of how many bytes a line or document may be."""

    rows: int
    bytes: int
    line: int = _MAX_LINE
    document: int = _MAX_DOCUMENT


class RowFile:
    """The rows of one file, and what was wrong with it once they have been read.

    `line` is where the row just read ends, counted from 1; None in a JSON document. `broken` counts what could not be read, `findings` tells the first of it, and `complete` is False
    if the file was left before its end: the budget was spent, or too much was broken.
    """

    def __init__(self, path: str, stream: IO[bytes], budget: Budget) -> None:
        self.path = path
        self.findings: list[DatasetFinding] = []
        self.line: int | None = None
        self.broken = 0
        self.complete = True
        self._stream = stream
        self._budget = budget

    def __iter__(self) -> Iterator[Row]:
        readers = {
            ".jsonl": self._jsonl,
            ".json": self._json,
            ".csv": self._csv,
            ".txt": self._txt,
        }
        for row in readers[_suffix(self.path)]():
            if self._budget.rows == 0:
                self.complete = False
                return
            self._budget.rows -= 1
            yield row

    def _jsonl(self) -> Iterator[Row]:
        for number, line in self._lines():
            self.line = number
            if line.strip():
                yield from self._row(line, number)

    def _row(self, text: str, number: int) -> Iterator[Row]:
        try:
            yield _checked(json.loads(text))
        except (ValueError, RecursionError) as error:
            self._tell("broken_row", _reason(error), number)

    def _json(self) -> Iterator[Row]:
        limit = min(self._budget.document, self._budget.bytes)
        content = self._stream.read(limit + 1)
        if len(content) > limit:
            self._stop("too_large", f"A JSON document is read up to {limit} bytes; use JSON lines.")
            return
        self._budget.bytes -= len(content)
        try:
            document = json.loads(content.removeprefix(codecs.BOM_UTF8))
        except (ValueError, RecursionError) as error:
            self._stop("broken_file", _reason(error))
            return
        items = document.get("data") if isinstance(document, dict) else document
        if not isinstance(items, list):
            self._stop("no_list", "There is neither a list of rows, nor one under `data`.")
            return
        for position, item in enumerate(items):
            if self.broken == _MAX_BROKEN:
                self.complete = False
                return
            try:
                yield _checked(item)
            except ValueError as error:
                self._tell("broken_row", f"Row {position}: {error}")

    def _csv(self) -> Iterator[Row]:
        reader = csv.reader(line for _, line in self._lines())
        try:
            header = next(reader, [])
            for cells in filter(None, reader):
                self.line = reader.line_num
                missing = len(header) - len(cells)
                if missing < 0:
                    # What is left over has no column, and so no name.
                    self._tell(
                        "extra_values", "There are more values than columns.", reader.line_num
                    )
                elif not self._afford(missing * _MISSING_BYTES):
                    return
                yield dict(zip_longest(header, cells[: len(header)]))
        except csv.Error as error:
            self._stop("broken_file", f"{error}", reader.line_num)

    def _txt(self) -> Iterator[Row]:
        for number, line in self._lines():
            self.line = number
            for part in line.splitlines():
                if part.strip():
                    yield {"input": part.strip()}

    def _lines(self) -> Iterator[tuple[int, str]]:
        number = 0
        while line := self._stream.readline(self._budget.line + 1):
            number += 1
            if self.broken == _MAX_BROKEN:
                self.complete = False
                return
            if not self._afford(len(line)):
                return
            if len(line) > self._budget.line:
                message = f"A line is read up to {self._budget.line} bytes."
                self._stop("too_large", message, number)
                return
            try:
                yield number, line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError:
                self._tell("broken_row", "The line is not UTF-8.", number)

    def _afford(self, size: int) -> bool:
        """Take bytes from the budget; where it has too few, the file ends here."""
        if size > self._budget.bytes:
            self.complete = False
            return False
        self._budget.bytes -= size
        return True

    def _stop(self, code: str, message: str, line: int | None = None) -> None:
        self.complete = False
        self._tell(code, message, line)

    def _tell(self, code: str, message: str, line: int | None = None) -> None:
        self.broken += 1
        if len(self.findings) < _MAX_FINDINGS:
            self.findings.append(
                DatasetFinding(path=self.path, line=line, code=code, message=message)
            )


def has_rows(path: str) -> bool:
    """Say whether a path is that of a dataset file whose rows can be read."""
    return path.startswith(DATASET) and _suffix(path) in _SUFFIXES


def _suffix(path: str) -> str:
    return PurePosixPath(path).suffix.lower()


def _reason(error: ValueError | RecursionError) -> str:
    return "It is nested too deeply." if isinstance(error, RecursionError) else f"{error}"


def _checked(value: object) -> Row:
    if _is_deep(value, _MAX_DEPTH):
        raise ValueError(f"Lists and objects are nested deeper than {_MAX_DEPTH} levels.")
    return normalize_record(value)


def _is_deep(value: object, left: int) -> bool:
    if not isinstance(value, dict | list):
        return False
    items: Iterable[object] = value.values() if isinstance(value, dict) else value
    return left == 0 or any(_is_deep(item, left - 1) for item in items)
