"""What a version holds: its files, its README, its dataset."""

from pydantic import Field

from freesolo.schemas.base import Wire

# A value as it is shown: lists and objects as their JSON.
Cell = str | int | float | bool | None


class Lengths(Wire):
    """How long the values of a column are, in characters; what is no text counts as its JSON."""

    min: int
    median: int
    p95: int
    max: int


class Column(Wire):
    """One column of a split. `types` counts its values by JSON type; `empty` counts rows without one.

    Empty are a missing value, null, blank text and a list or object with nothing in it.
    """

    name: str
    types: dict[str, int]
    empty: int
    lengths: Lengths | None = Field(description="None if every value is empty.")


class Split(Wire):
    """One file of the dataset, named after it: `train` for dataset/train.jsonl.

    `duplicates` counts rows that an earlier row equals in all but its id, `broken` those that cannot
    be read. `complete` is False if the file was not read to its end.
    """

    name: str
    path: str
    rows: int
    duplicates: int
    broken: int
    complete: bool
    columns: list[Column]
    preview: list[dict[str, Cell]] = Field(description="The first rows, long values cut.")


class Shared(Wire):
    """What two splits, by path, have in common: different rows, and different values of `input`."""

    first: str
    second: str
    rows: int
    inputs: int


class DatasetFinding(Wire):
    """Something that is wrong with a file of the dataset. `line` counts from 1."""

    path: str
    line: int | None = None
    code: str
    message: str


class DatasetReport(Wire):
    """What the files under `dataset/` hold, as far as they were read: at most `max_rows` in all."""

    splits: list[Split]
    shared: list[Shared]
    findings: list[DatasetFinding]
    max_rows: int
    max_bytes: int
