"""Environments, their immutable versions, and what points to them."""

import datetime as dt
from datetime import datetime
from enum import StrEnum
from uuid import UUID, uuid4

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Index,
    Integer,
    String,
    Text,
    UniqueConstraint,
)
from sqlalchemy.orm import Mapped, mapped_column, relationship

from freesolo.domain.roles import EnvironmentRole, Visibility
from hub_server.models.accounts import Org
from hub_server.models.base import Base, JsonObject, state_type


class VersionState(StrEnum):
    """Whether a version is for everybody who may read the environment, or still for its writers."""

    STAGED = "staged"
    PUBLISHED = "published"


class Environment(Base):
    """A task. `name` is shown as written; `name_key`, folded, is what is unique.

    `serial` is the number of the last change to it or to its versions: what was made for this number
    is still true while it stands. `latest_version` is the newest release that may be chosen.
    """

    __tablename__ = "environments"
    __table_args__ = (
        UniqueConstraint("org_id", "name_key"),
        UniqueConstraint("org_id", "confusable_key"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    org_id: Mapped[UUID] = mapped_column(ForeignKey("orgs.id"))
    project_id: Mapped[UUID | None] = mapped_column(ForeignKey("projects.id"))
    name: Mapped[str] = mapped_column(String(64))
    name_key: Mapped[str] = mapped_column(String(64))
    confusable_key: Mapped[str] = mapped_column(String(64))
    visibility: Mapped[Visibility] = mapped_column(
        state_type(Visibility, "visibility"), default=Visibility.PRIVATE
    )
    serial: Mapped[int] = mapped_column(BigInteger, default=0)
    summary: Mapped[str] = mapped_column(String(500), default="")
    license: Mapped[str] = mapped_column(String(200), default="")
    tags: Mapped[list[str]] = mapped_column(JSON, default=list)
    turn_type: Mapped[str] = mapped_column(String(20), default="")
    latest_version: Mapped[str] = mapped_column(String(100), default="")
    downloads: Mapped[int] = mapped_column(BigInteger, default=0)
    deprecation: Mapped[str | None] = mapped_column(String(1000))
    successor: Mapped[str | None] = mapped_column(String(200))
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    archived_at: Mapped[datetime | None]
    deleted_at: Mapped[datetime | None]

    org: Mapped[Org] = relationship(lazy="raise")


class EnvironmentVersion(Base):
    """One published state of an environment. Its content never changes.

    `version_key` is the version without trailing zeros: 1.0 and 1.0.0 are one. A deleted version
    leaves its row, so that its number is never given to other content. `distribution` is what its
    wheel is called, whatever the environment is called by now.
    """

    __tablename__ = "environment_versions"
    __table_args__ = (
        UniqueConstraint("environment_id", "version_key"),
        Index(None, "environment_id", "tree_digest"),
        Index(None, "archive_digest"),
        Index(None, "wheel_digest"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    environment_id: Mapped[UUID] = mapped_column(ForeignKey("environments.id"))
    version: Mapped[str] = mapped_column(String(100))
    version_key: Mapped[str] = mapped_column(String(100))
    state: Mapped[VersionState] = mapped_column(
        state_type(VersionState, "state"), default=VersionState.PUBLISHED
    )
    tree_digest: Mapped[str] = mapped_column(String(71))
    archive_digest: Mapped[str] = mapped_column(String(71))
    size: Mapped[int] = mapped_column(BigInteger)
    unpacked_size: Mapped[int] = mapped_column(BigInteger)
    file_count: Mapped[int]
    requires_python: Mapped[str] = mapped_column(String(200), default="")
    environments: Mapped[list[str]] = mapped_column(JSON, default=list)
    distribution: Mapped[str] = mapped_column(String(150), default="")
    wheel_digest: Mapped[str] = mapped_column(String(71), default="")
    wheel_size: Mapped[int] = mapped_column(BigInteger, default=0)
    wheel_metadata_digest: Mapped[str] = mapped_column(String(71), default="")
    receipt: Mapped[JsonObject | None] = mapped_column(JSON(none_as_null=True))
    published_by: Mapped[UUID] = mapped_column(ForeignKey("api_keys.id"))
    published_at: Mapped[datetime]
    yanked_at: Mapped[datetime | None]
    yank_reason: Mapped[str | None] = mapped_column(String(1000))
    deleted_at: Mapped[datetime | None]


class VersionContents(Base):
    """What was found in a version's archive when it was published: large, and read one at a time.

    `checks` is what its publisher's `validate` said of it; empty where none was sent.
    """

    __tablename__ = "version_contents"

    version_id: Mapped[UUID] = mapped_column(
        ForeignKey("environment_versions.id", ondelete="CASCADE"), primary_key=True
    )
    manifest: Mapped[JsonObject]
    turn_type: Mapped[str] = mapped_column(String(20), default="")
    files: Mapped[list[JsonObject]] = mapped_column(JSON)
    wheel_metadata: Mapped[str] = mapped_column(Text, default="")
    readme_html: Mapped[str] = mapped_column(Text, default="")
    dataset: Mapped[JsonObject] = mapped_column(JSON, default=dict)
    checks: Mapped[JsonObject] = mapped_column(JSON, default=dict)


class VersionDependency(Base):
    """An environment that a version builds on, by its folded name: it may be gone or hidden."""

    __tablename__ = "version_dependencies"
    __table_args__ = (Index(None, "org_key", "name_key"),)

    version_id: Mapped[UUID] = mapped_column(
        ForeignKey("environment_versions.id", ondelete="CASCADE"), primary_key=True
    )
    org_key: Mapped[str] = mapped_column(String(64), primary_key=True)
    name_key: Mapped[str] = mapped_column(String(64), primary_key=True)
    specifier: Mapped[str] = mapped_column(String(200))


class VersionUse(Base):
    """How often a version was used in one way (`download`, `run`) on one day."""

    __tablename__ = "version_uses"

    version_id: Mapped[UUID] = mapped_column(
        ForeignKey("environment_versions.id", ondelete="CASCADE"), primary_key=True
    )
    day: Mapped[dt.date] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(20), primary_key=True)
    count: Mapped[int] = mapped_column(BigInteger)


class Channel(Base):
    """A movable name, such as `stable`, for what a selector chooses: a version or a range."""

    __tablename__ = "channels"

    environment_id: Mapped[UUID] = mapped_column(ForeignKey("environments.id"), primary_key=True)
    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    selector: Mapped[str] = mapped_column(String(200))
    updated_at: Mapped[datetime]


class ChannelMove(Base):
    """One move of a channel; `selector` is None for its removal."""

    __tablename__ = "channel_moves"
    __table_args__ = (Index(None, "environment_id", "channel", "id"),)

    id: Mapped[int] = mapped_column(
        BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True
    )
    environment_id: Mapped[UUID] = mapped_column(ForeignKey("environments.id"))
    channel: Mapped[str] = mapped_column(String(32))
    selector: Mapped[str | None] = mapped_column(String(200))
    moved_by: Mapped[str] = mapped_column(String(200))
    moved_at: Mapped[datetime]


class EnvironmentRedirect(Base):
    """A name that an environment once had: it leads to it for ever and is never given away."""

    __tablename__ = "environment_redirects"

    org_id: Mapped[UUID] = mapped_column(ForeignKey("orgs.id"), primary_key=True)
    name_key: Mapped[str] = mapped_column(String(64), primary_key=True)
    environment_id: Mapped[UUID] = mapped_column(ForeignKey("environments.id"), index=True)
    created_at: Mapped[datetime]


class EnvironmentGrant(Base):
    """A role on one environment, given to a person or to everybody in another org."""

    __tablename__ = "environment_grants"
    __table_args__ = (
        UniqueConstraint("environment_id", "user_id"),
        UniqueConstraint("environment_id", "org_id"),
        CheckConstraint("(user_id IS NULL) <> (org_id IS NULL)", name="one_grantee"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    environment_id: Mapped[UUID] = mapped_column(ForeignKey("environments.id"))
    user_id: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"), index=True)
    org_id: Mapped[UUID | None] = mapped_column(ForeignKey("orgs.id"), index=True)
    role: Mapped[EnvironmentRole] = mapped_column(state_type(EnvironmentRole, "role"))
    created_at: Mapped[datetime]


class EnvironmentTransfer(Base):
    """An environment that its org has offered to another, which has not accepted yet."""

    __tablename__ = "environment_transfers"

    environment_id: Mapped[UUID] = mapped_column(ForeignKey("environments.id"), primary_key=True)
    to_org_id: Mapped[UUID] = mapped_column(ForeignKey("orgs.id"), index=True)
    offered_by: Mapped[str] = mapped_column(String(200))
    offered_at: Mapped[datetime]

    to_org: Mapped[Org] = relationship(lazy="raise")
