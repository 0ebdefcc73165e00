"""Bytes: which the store holds, and which are on their way."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import BigInteger, ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from hub_server.models.base import Base, state_type


class Blob(Base):
    """Bytes that the store holds or is about to hold; the row is written before they are."""

    __tablename__ = "blobs"
    __table_args__ = (Index(None, "last_seen_at"),)

    digest: Mapped[str] = mapped_column(String(71), primary_key=True)
    size: Mapped[int] = mapped_column(BigInteger)
    last_seen_at: Mapped[datetime]


class UploadState(StrEnum):
    """How far an upload has come."""

    OPEN = "open"
    FINISHED = "finished"


class Upload(Base):
    """An archive that arrives in parts. `offset` is how many of its `size` bytes are here."""

    __tablename__ = "uploads"
    __table_args__ = (
        Index(None, "key_id", "archive_digest"),
        Index(None, "expires_at"),
        Index(None, "archive_digest"),
    )

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    org_id: Mapped[UUID] = mapped_column(ForeignKey("orgs.id"))
    key_id: Mapped[UUID] = mapped_column(ForeignKey("api_keys.id"))
    name: Mapped[str] = mapped_column(String(64))
    version: Mapped[str] = mapped_column(String(100))
    stage: Mapped[bool] = mapped_column(default=False)
    state: Mapped[UploadState] = mapped_column(
        state_type(UploadState, "state"), default=UploadState.OPEN
    )
    tree_digest: Mapped[str | None] = mapped_column(String(71))
    archive_digest: Mapped[str] = mapped_column(String(71))
    size: Mapped[int] = mapped_column(BigInteger)
    offset: Mapped[int] = mapped_column(BigInteger, default=0)
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
