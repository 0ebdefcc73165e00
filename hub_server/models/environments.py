"""Environments and their immutable versions."""

from datetime import datetime
from uuid import UUID, uuid4

from sqlalchemy import BigInteger, ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from hub_server.models.base import Base


class Environment(Base):
    """A task. `name` is shown as first written; `name_key`, folded, is what is unique."""

    __tablename__ = "environments"
    __table_args__ = (UniqueConstraint("org_id", "name_key"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    org_id: Mapped[UUID] = mapped_column(ForeignKey("orgs.id"))
    name: Mapped[str] = mapped_column(String(64))
    name_key: Mapped[str] = mapped_column(String(64))
    summary: Mapped[str] = mapped_column(String(500), default="")
    latest_version: Mapped[str] = mapped_column(String(100), default="")
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class EnvironmentVersion(Base):
    """One published state of an environment. Rows are only ever added."""

    __tablename__ = "environment_versions"
    __table_args__ = (UniqueConstraint("environment_id", "version"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    environment_id: Mapped[UUID] = mapped_column(ForeignKey("environments.id"))
    version: Mapped[str] = mapped_column(String(100))
    tree_digest: Mapped[str] = mapped_column(String(71))
    archive_digest: Mapped[str] = mapped_column(String(71))
    size: Mapped[int] = mapped_column(BigInteger)
    published_by: Mapped[UUID] = mapped_column(ForeignKey("api_keys.id"))
    published_at: Mapped[datetime]
