"""What was done, by whom."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, ForeignKey, Index, Integer, String
from sqlalchemy.orm import Mapped, mapped_column, relationship

from hub_server.models.accounts import ApiKey
from hub_server.models.base import Base, JsonObject


class AuditEvent(Base):
    """One change that somebody made in an org, written in the transaction that made it."""

    __tablename__ = "audit_events"
    __table_args__ = (Index(None, "org_id", "id"),)

    # SQLite counts by itself only in a column of the type INTEGER.
    id: Mapped[int] = mapped_column(
        BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True
    )
    org_id: Mapped[UUID] = mapped_column(ForeignKey("orgs.id"))
    key_id: Mapped[UUID] = mapped_column(ForeignKey("api_keys.id"))
    actor: Mapped[str] = mapped_column(String(200))
    action: Mapped[str] = mapped_column(String(64))
    target: Mapped[str] = mapped_column(String(300))
    data: Mapped[JsonObject]
    request_id: Mapped[str | None] = mapped_column(String(32))
    created_at: Mapped[datetime]

    key: Mapped[ApiKey] = relationship(lazy="raise")
