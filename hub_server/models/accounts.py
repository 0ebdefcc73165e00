"""Who may do what: organisations, people, their projects, and keys."""

from datetime import datetime
from uuid import UUID, uuid4

from sqlalchemy import JSON, BigInteger, ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from freesolo.domain.rates import KeyLimits
from freesolo.domain.roles import Role
from hub_server.models.base import Base, state_type


class Org(Base):
    """An organisation: the first part of every reference. `name_key` is its slug, folded.

    `confusable_key` folds further, so that no org looks like another. The limits are None where the
    hub's own hold.
    """

    __tablename__ = "orgs"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    slug: Mapped[str] = mapped_column(String(64))
    name_key: Mapped[str] = mapped_column(String(64), unique=True)
    confusable_key: Mapped[str] = mapped_column(String(64), unique=True)
    max_storage_bytes: Mapped[int | None] = mapped_column(BigInteger)
    max_environments: Mapped[int | None]
    created_at: Mapped[datetime]


class User(Base):
    """A person, known by a handle."""

    __tablename__ = "users"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    handle: Mapped[str] = mapped_column(String(64))
    name_key: Mapped[str] = mapped_column(String(64), unique=True)
    created_at: Mapped[datetime]


class Membership(Base):
    """What a person is in an org."""

    __tablename__ = "memberships"

    org_id: Mapped[UUID] = mapped_column(ForeignKey("orgs.id"), primary_key=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"), primary_key=True, index=True)
    role: Mapped[Role] = mapped_column(state_type(Role, "role"))
    created_at: Mapped[datetime]

    org: Mapped[Org] = relationship(lazy="raise")
    user: Mapped[User] = relationship(lazy="raise")


class Project(Base):
    """A label that groups the runs and environments of an org."""

    __tablename__ = "projects"
    __table_args__ = (UniqueConstraint("org_id", "slug"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    org_id: Mapped[UUID] = mapped_column(ForeignKey("orgs.id"))
    slug: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime]


class ApiKey(Base):
    """A key, known only by its SHA-256; `prefix` is what people tell it by.

    A key with a user acts as that person: in one org if it has one, else in all of theirs. A key
    with an org and no user acts for the org, in the role written here. The keys of workers and
    gateways have neither. `patterns` confine it to environments such as `acme/*`. The limits are None
    where the hub's own hold.
    """

    __tablename__ = "api_keys"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    org_id: Mapped[UUID | None] = mapped_column(ForeignKey("orgs.id"), index=True)
    user_id: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"), index=True)
    role: Mapped[Role | None] = mapped_column(state_type(Role, "role"))
    name: Mapped[str] = mapped_column(String(200))
    prefix: Mapped[str] = mapped_column(String(16))
    key_hash: Mapped[str] = mapped_column(String(64), unique=True)
    scopes: Mapped[list[str]] = mapped_column(JSON)
    patterns: Mapped[list[str]] = mapped_column(JSON, default=list)
    requests_per_minute: Mapped[int | None]
    tokens_per_minute: Mapped[int | None]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]

    org: Mapped[Org | None] = relationship(lazy="raise")
    user: Mapped[User | None] = relationship(lazy="raise")

    @property
    def limits(self) -> KeyLimits:
        """What it may ask of a gateway in a minute."""
        return KeyLimits(
            requests_per_minute=self.requests_per_minute, tokens_per_minute=self.tokens_per_minute
        )


class RequestRecord(Base):
    """What a request with an `Idempotency-Key` made, so that its repetition makes nothing."""

    __tablename__ = "request_records"

    org_id: Mapped[UUID] = mapped_column(ForeignKey("orgs.id"), primary_key=True)
    key: Mapped[str] = mapped_column(String(200), primary_key=True)
    fingerprint: Mapped[str] = mapped_column(String(64))
    result: Mapped[str | None] = mapped_column(String(64))
    created_at: Mapped[datetime]
