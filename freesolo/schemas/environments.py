"""Environments and their versions."""

from datetime import datetime
from typing import Literal

from freesolo.schemas.base import Digest, Wire


class PublishedVersion(Wire):
    """The answer of `PUT /v1/environments/{org}/{name}/versions/{version}`.

    `status` is `unchanged` when the same tree was published under this version before.
    """

    ref: str
    version: str
    tree_digest: Digest
    archive_digest: Digest
    size: int
    status: Literal["created", "unchanged"]
    published_at: datetime


class VersionSummary(Wire):
    """One line of an environment's history."""

    version: str
    tree_digest: Digest
    size: int
    published_at: datetime


class EnvironmentSummary(Wire):
    """One line of `GET /v1/environments`."""

    ref: str
    summary: str
    latest_version: str
    updated_at: datetime


class EnvironmentList(Wire):
    """The answer of `GET /v1/environments`; `next_cursor` is None on the last page."""

    environments: list[EnvironmentSummary]
    next_cursor: str | None = None


class EnvironmentDetail(Wire):
    """The answer of `GET /v1/environments/{org}/{name}`, versions from the newest to the oldest."""

    ref: str
    summary: str
    versions: list[VersionSummary]


class ResolvedVersion(Wire):
    """The answer of `GET /v1/environments/{org}/{name}/resolve?selector=...`: one pinned version."""

    ref: str
    version: str
    tree_digest: Digest
    archive_digest: Digest
    size: int


class EnvironmentPin(Wire):
    """The state of an environment that a run is bound to."""

    ref: str
    version: str
    tree_digest: Digest
