"""What a version holds: its files, its README, its dataset."""

from datetime import datetime
from typing import Literal

from pydantic import Field, JsonValue

from freesolo.schemas.base import Digest, Page, Wire

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


class FileEntry(Wire):
    """One file of a version. `size` is in bytes, `sha256` is 64 hexadecimal digits."""

    path: str
    size: int
    sha256: str
    executable: bool = False


class FileList(Wire):
    """The answer of `GET .../versions/{version}/files`; the list is what `tree_digest` digests."""

    ref: str
    version: str
    tree_digest: Digest
    files: list[FileEntry]


class Readme(Wire):
    """The answer of `GET .../versions/{version}/readme`: HTML that is safe in any page."""

    ref: str
    version: str
    html: str


class Dataset(Wire):
    """The answer of `GET .../versions/{version}/dataset`."""

    ref: str
    version: str
    report: DatasetReport


class WheelFile(Wire):
    """A version as `pip` and `uv` install it from the environment's index."""

    filename: str
    digest: Digest
    size: int


class VersionDetail(Wire):
    """The answer of `GET /v1/envs/{org}/{name}/versions/{version}`. Sizes are bytes.

    `rows` counts the dataset's rows by the path of their file, `uses` how often the version was
    downloaded and run.
    """

    ref: str
    version: str
    state: Literal["staged", "published"]
    tree_digest: Digest
    archive_digest: Digest
    size: int
    unpacked_size: int
    file_count: int
    manifest: dict[str, JsonValue]
    rows: dict[str, int]
    uses: dict[str, int]
    wheel: WheelFile
    published_at: datetime
    yanked: bool
    yank_reason: str | None


class Dependent(Wire):
    """An environment that builds on another: its newest version that does, and with what range."""

    ref: str
    version: str
    specifier: str


class DependentList(Page):
    """The answer of `GET /v1/envs/{org}/{name}/dependents`; `next_cursor` is None on the last page."""

    dependents: list[Dependent]
