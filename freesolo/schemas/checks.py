"""What `validate` said of a version, as its publisher sent it: a claim, and text of a stranger.

It travels with the publish: as JSON in the header `X-Checks` of the `PUT` of a version, or in the body
of the call that ends a resumable upload.
"""

import json
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from freesolo.schemas.base import Wire

CHECKS_HEADER = "X-Checks"
# What proxies let through as one header.
MAX_CHECKS_BYTES = 7000
MAX_FINDINGS = 50
MAX_MESSAGE = 500
MAX_PATH = 300
MAX_ROWS = 5
MAX_MODEL = 200
MAX_LENGTHS = 5

_Count = Annotated[int, Field(ge=0, le=100_000)]
_Row = Annotated[int, Field(ge=0, le=10_000_000)]


class CheckedFinding(Wire):
    """One finding. `rows` are the first ones it is about, counted from 0, and `line` from 1."""

    code: str = Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")
    severity: Literal["error", "warning", "info"]
    message: str = Field(max_length=MAX_MESSAGE)
    rows: list[_Row] = Field(default=[], max_length=MAX_ROWS)
    path: str | None = Field(default=None, max_length=MAX_PATH)
    line: int | None = Field(default=None, ge=1, le=100_000_000)


class CheckedReward(Wire):
    """How far the reward told gold answers from wrong ones: the area under the ROC curve, with its
    95 % interval, over so many rows.
    """

    rows: _Count
    auc: float = Field(ge=0, le=1)
    low: float = Field(ge=0, le=1)
    high: float = Field(ge=0, le=1)


class CheckedLengths(Wire):
    """How many tokens prompt and gold answer have together, for a base model: in the middle, and at
    the most, over so many rows. `exact` is False for an estimate.
    """

    model: str = Field(max_length=MAX_MODEL)
    exact: bool
    rows: _Row
    median: _Row
    longest: _Row


class CheckSummary(Wire):
    """How many findings there were. `forced` says that it was published in spite of the errors."""

    errors: _Count
    warnings: _Count
    infos: _Count
    forced: bool = False


class CheckReport(CheckSummary):
    """The whole report. `findings` are the gravest; the counts are of all. `validator` is the release
    of freesolo that made it.
    """

    validator: str = Field(max_length=50)
    findings: list[CheckedFinding] = Field(default=[], max_length=MAX_FINDINGS)
    reward: CheckedReward | None = None
    lengths: list[CheckedLengths] = Field(default=[], max_length=MAX_LENGTHS)

    def header_value(self) -> str:
        """Return the report as it travels in a header: JSON in ASCII, without what is as usual."""
        return json.dumps(
            self.model_dump(mode="json", exclude_defaults=True), separators=(",", ":")
        )

    @model_validator(mode="after")
    def _errors_are_forced(self) -> Self:
        if self.errors and not self.forced:
            raise ValueError("what has errors is published only if it is forced")
        return self


class VersionChecks(Wire):
    """The answer of `GET .../versions/{version}/checks`; `report` is None where none was sent."""

    ref: str
    version: str
    report: CheckReport | None
