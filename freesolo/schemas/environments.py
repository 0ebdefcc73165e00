"""Environments and their versions."""

from datetime import datetime
from typing import Literal

from freesolo.schemas.base import Digest, Wire


class PublishedVersion(Wire):
    """The answer of `PUT /v1/envs/{org}/{name}/versions/{version}`.

    `status` is `unchanged` when the same tree was published under this version before; `state` is
    `staged` until the version is promoted.
    """

    ref: str
    version: str
    tree_digest: Digest
    archive_digest: Digest
    size: int
    status: Literal["created", "unchanged"]
    state: Literal["staged", "published"]
    published_at: datetime


class VersionSummary(Wire):
    """One line of an environment's history."""

    version: str
    tree_digest: Digest
    size: int
    published_at: datetime


class EnvironmentSummary(Wire):
    """One line of `GET /v1/envs`."""

    ref: str
    summary: str
    latest_version: str
    updated_at: datetime


class EnvironmentList(Wire):
    """The answer of `GET /v1/envs`; `next_cursor` is None on the last page."""

    environments: list[EnvironmentSummary]
    next_cursor: str | None = None


class EnvironmentDetail(Wire):
    """The answer of `GET /v1/envs/{org}/{name}`, versions from the newest to the oldest."""

    ref: str
    summary: str
    versions: list[VersionSummary]


class ResolvedVersion(Wire):
    """The answer of `GET /v1/envs/{org}/{name}/resolve?spec=...`: one pinned version.

    `ref` is the environment's name now, whatever it was asked for under.
    """

    ref: str
    version: str
    tree_digest: Digest
    archive_digest: Digest
    size: int
    yanked: bool = False
    yank_reason: str | None = None
    deprecation: str | None = None
    successor: str | None = None


class IndexedVersion(Wire):
    """One version as a resolver sees it. `environments` are requirements such as `acme/tools>=1`."""

    version: str
    tree_digest: Digest
    archive_digest: Digest
    size: int
    requires_python: str = ""
    environments: list[str]
    yanked: bool = False
    yank_reason: str | None = None
    published_at: datetime


class VersionIndex(Wire):
    """The answer of `GET /v1/envs/{org}/{name}/index`: every version, the newest first."""

    ref: str
    serial: int
    latest_version: str
    deprecation: str | None = None
    successor: str | None = None
    versions: list[IndexedVersion]


class EnvironmentPin(Wire):
    """The state of an environment that a run is bound to."""

    ref: str
    version: str
    tree_digest: Digest
