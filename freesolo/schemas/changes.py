"""The feed of changes."""

from datetime import datetime
from enum import StrEnum

from pydantic import JsonValue

from freesolo.schemas.base import Digest, Wire


class ChangeKind(StrEnum):
    """What can happen to an environment or one of its versions."""

    VERSION_STAGED = "version.staged"
    VERSION_DISCARDED = "version.discarded"
    VERSION_PUBLISHED = "version.published"
    VERSION_YANKED = "version.yanked"
    VERSION_UNYANKED = "version.unyanked"
    VERSION_DELETED = "version.deleted"
    CHANNEL_MOVED = "channel.moved"
    CHANNEL_REMOVED = "channel.removed"
    DEPRECATED = "environment.deprecated"
    UNDEPRECATED = "environment.undeprecated"
    ARCHIVED = "environment.archived"
    UNARCHIVED = "environment.unarchived"
    DELETED = "environment.deleted"
    RESTORED = "environment.restored"
    RENAMED = "environment.renamed"
    TRANSFER_OFFERED = "environment.transfer-offered"
    TRANSFER_DECLINED = "environment.transfer-declined"
    TRANSFERRED = "environment.transferred"
    VISIBILITY_CHANGED = "environment.visibility-changed"
    ACCESS_GRANTED = "environment.access-granted"
    ACCESS_REVOKED = "environment.access-revoked"


class ChangeEntry(Wire):
    """What happened; `data` says more, by kind."""

    serial: int
    kind: ChangeKind
    ref: str
    version: str | None = None
    tree_digest: Digest | None = None
    archive_digest: Digest | None = None
    at: datetime
    data: dict[str, JsonValue]


class FeedItem(Wire):
    """One link of the chain. `entry`, a `ChangeEntry`, and `nonce` are None where the key may not see.

    `entry` is kept as it came: its hash covers every byte of it, also what a reader does not know.
    """

    serial: int
    entry: dict[str, JsonValue] | None = None
    nonce: str | None = None
    entry_hash: str
    hash: str


class FeedHead(Wire):
    """The answer of `GET /v1/changes/head`: the last change's number and the hash of the whole feed."""

    serial: int
    hash: str


class Feed(Wire):
    """The answer of `GET /v1/changes?since=SERIAL`: what followed, oldest first."""

    changes: list[FeedItem]
    head: FeedHead
