"""What search finds environments by."""

from uuid import UUID

from sqlalchemy import BigInteger, ForeignKey, Integer, Text
from sqlalchemy.orm import Mapped, mapped_column

from hub_server.models.base import Base


class SearchDocument(Base):
    """An environment as search sees it: folded words, from the most telling field to the least.

    `facets` are what filters and access compare. Each database keeps an index of the four beside
    this table by itself, made in the migration: `search_index` on SQLite, the column `words` on
    PostgreSQL.
    """

    __tablename__ = "search_documents"

    id: Mapped[int] = mapped_column(
        BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True
    )
    environment_id: Mapped[UUID] = mapped_column(ForeignKey("environments.id"), unique=True)
    name: Mapped[str] = mapped_column(Text)
    about: Mapped[str] = mapped_column(Text)
    text: Mapped[str] = mapped_column(Text)
    facets: Mapped[str] = mapped_column(Text)
