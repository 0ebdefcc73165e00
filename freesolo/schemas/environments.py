"""Environments and their versions."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from freesolo.domain.roles import Visibility
from freesolo.schemas.base import Digest, Page, Wire
from freesolo.schemas.checks import CheckSummary


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
    """One line of an environment's history. `channels` are those that mean this version now, `checks`
    what its publisher's `validate` came to.
    """

    version: str
    state: Literal["staged", "published"]
    tree_digest: Digest
    size: int
    yanked: bool
    yank_reason: str | None = None
    channels: list[str]
    checks: CheckSummary | None = None
    published_at: datetime


class EnvironmentSummary(Wire):
    """An environment in a line: of `GET /v1/envs`, and the answer of what changes one as a whole.

    `ref` is its name now. `deprecation` says why it should not be used any more, `successor` what to
    use instead. A deleted environment can be restored for 30 days.
    """

    ref: str
    summary: str
    visibility: Visibility
    latest_version: str
    deprecation: str | None = None
    successor: str | None = None
    archived: bool = False
    deleted_at: datetime | None = None
    updated_at: datetime


class EnvironmentList(Page):
    """The answer of `GET /v1/envs`; `next_cursor` is None on the last page."""

    environments: list[EnvironmentSummary]


class EnvironmentDetail(EnvironmentSummary):
    """The answer of `GET /v1/envs/{org}/{name}`, versions from the newest to the oldest.

    Staged versions are shown to those who may publish. `deleted` are the versions that were deleted:
    their numbers are never given again.
    """

    license: str
    tags: list[str]
    downloads: int
    serial: int
    created_at: datetime
    versions: list[VersionSummary]
    deleted: list[str]


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


class EnvironmentInfo(ResolvedVersion):
    """The answer of `GET /v1/envs/{org}/{name}/info?spec=...`: all that a reference means.

    Sizes are in bytes. `dependencies` are Python packages, `environments` what the version builds
    on, `secrets` the names of those it is given, `channels` those that mean this version now,
    `checks` what its publisher's `validate` came to.
    """

    state: Literal["staged", "published"]
    channels: list[str]
    latest_version: str
    visibility: Visibility
    summary: str
    license: str
    tags: list[str]
    deprecated: bool
    archived: bool
    downloads: int
    unpacked_size: int
    file_count: int
    requires_python: str
    dependencies: list[str]
    environments: list[str]
    secrets: list[str]
    network: bool
    checks: CheckSummary | None = None
    published_at: datetime


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


class PinnedEnvironment(ResolvedVersion):
    """A version that a run is bound to, with every version that it builds on, directly or not."""

    builds_on: tuple[ResolvedVersion, ...] = ()


class EnvironmentPin(Wire):
    """The state of an environment that a run is bound to."""

    ref: str
    version: str
    tree_digest: Digest


class Yank(Wire):
    """The body of `PUT .../versions/{version}/yank`."""

    reason: str = Field(min_length=1, max_length=1000)


class Deprecation(Wire):
    """The body of `PUT /v1/envs/{org}/{name}/deprecation`; `successor` is `org/name`."""

    message: str = Field(default="It is no longer maintained", min_length=1, max_length=1000)
    successor: str | None = None


class Channel(Wire):
    """A movable name. `selector` is a version or a range, `version` what that means now, if any."""

    name: str
    selector: str
    version: str | None
    updated_at: datetime


class ChannelList(Wire):
    """The answer of `GET /v1/envs/{org}/{name}/channels`, by name."""

    channels: list[Channel]


class ChannelTarget(Wire):
    """The body of `PUT /v1/envs/{org}/{name}/channels/{channel}`.

    `selector` is what follows the `@` of a reference. A range stays one; all else is pinned to the
    version it means now. With `expected`, the channel is moved only if that is its selector now
    (`""`: only if there is no such channel).
    """

    selector: str = ""
    expected: str | None = None


class ChannelMove(Wire):
    """One move of a channel; `selector` is None for its removal."""

    selector: str | None
    moved_by: str
    moved_at: datetime


class ChannelHistory(Page):
    """The answer of `GET /v1/envs/{org}/{name}/channels/{channel}`: its moves, the newest first.

    `channel` is None once it was removed; `next_cursor` is None on the last page.
    """

    channel: Channel | None
    moves: list[ChannelMove]


class NewName(Wire):
    """The body of `POST /v1/envs/{org}/{name}/rename`: the second part of the new reference."""

    name: str


class TransferOffer(Wire):
    """The body of `POST /v1/envs/{org}/{name}/transfer`: the org that is to have it."""

    org: str


class Transfer(Wire):
    """An environment that waits for an admin of `to_org` to accept it."""

    ref: str
    to_org: str
    offered_by: str
    offered_at: datetime


class TransferList(Page):
    """The answer of `GET /v1/transfers`: offers to your orgs; `next_cursor` None on the last page."""

    transfers: list[Transfer]
