"""Tokens that were used, and the money of orgs, in pico-dollars."""

from datetime import date, datetime
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from freesolo.schemas.usage import Outcome, Witness
from hub_server.models.base import Base, state_type


class Usage(Base):
    """The tokens of one request, and what they cost. The id comes from the gateway.

    One row a request, whichever witness was heard first; `amount` is part of the org's balance.
    """

    __tablename__ = "usage"
    __table_args__ = (Index(None, "org_id", "day"), Index(None, "engine"))

    id: Mapped[str] = mapped_column(String(100), primary_key=True)
    org_id: Mapped[UUID] = mapped_column(ForeignKey("orgs.id"))
    key_id: Mapped[UUID] = mapped_column(ForeignKey("api_keys.id"))
    model: Mapped[str] = mapped_column(String(200))
    revision: Mapped[str | None] = mapped_column(String(100))
    witness: Mapped[Witness] = mapped_column(state_type(Witness, "witness"))
    outcome: Mapped[Outcome] = mapped_column(state_type(Outcome, "outcome"))
    engine: Mapped[str | None] = mapped_column(String(64))
    prompt_tokens: Mapped[int] = mapped_column(BigInteger)
    cached_tokens: Mapped[int] = mapped_column(BigInteger)
    completion_tokens: Mapped[int] = mapped_column(BigInteger)
    reasoning_tokens: Mapped[int] = mapped_column(BigInteger)
    amount: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime]
    # In UTC; what reports are asked by.
    day: Mapped[date]


class Balance(Base):
    """What an org has: its credits less what it used, and how much of that open requests hold."""

    __tablename__ = "balances"
    __table_args__ = (CheckConstraint("held >= 0", name="held"),)

    org_id: Mapped[UUID] = mapped_column(ForeignKey("orgs.id"), primary_key=True)
    balance: Mapped[int] = mapped_column(BigInteger, default=0)
    held: Mapped[int] = mapped_column(BigInteger, default=0)


class Credit(Base):
    """Money that an org was given, or, below zero, that was taken back."""

    __tablename__ = "credits"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    org_id: Mapped[UUID] = mapped_column(ForeignKey("orgs.id"), index=True)
    amount: Mapped[int] = mapped_column(BigInteger)
    note: Mapped[str] = mapped_column(String(200))
    created_at: Mapped[datetime]


class Hold(Base):
    """Money set aside for a request while it is answered, for as long as its gateway says so."""

    __tablename__ = "holds"

    id: Mapped[str] = mapped_column(String(100), primary_key=True)
    org_id: Mapped[UUID] = mapped_column(ForeignKey("orgs.id"))
    amount: Mapped[int] = mapped_column(BigInteger)
    until: Mapped[datetime] = mapped_column(index=True)
