"""Base models that orgs have added to the catalog."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from freesolo.domain.catalog import MAX_ID_LENGTH, BaseModelEntry
from hub_server.models.base import AsJson, Base


class AddedModel(Base):
    """A base model that the runs of one org can have, besides those that every org has.

    `entry` never changes; its revision stands apart for the queries that look for it.
    """

    __tablename__ = "added_models"

    org_id: Mapped[UUID] = mapped_column(ForeignKey("orgs.id"), primary_key=True)
    model_id: Mapped[str] = mapped_column(String(MAX_ID_LENGTH), primary_key=True)
    revision: Mapped[str] = mapped_column(String(200))
    entry: Mapped[BaseModelEntry] = mapped_column(AsJson(BaseModelEntry))
    created_at: Mapped[datetime]
