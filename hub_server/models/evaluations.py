"""What models got in the held-out suites of environments."""

from datetime import datetime
from uuid import UUID, uuid4

from sqlalchemy import JSON, ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from hub_server.models.base import Base, JsonObject


class Evaluation(Base):
    """One model, asked the suites of one version of an environment, on one occasion.

    `target` is the model's name as it was asked for, `revision` the immutable state that answered
    to it. `endpoint` is the address of a model that is not served here, whose `revision` is only
    what that says. `settings` are what decides the answers besides: temperature, tokens,
    parameters, limits. `suites` holds counts and means; the cases are rows of their own, of which
    `size` is the sum of bytes.
    """

    __tablename__ = "evaluations"
    __table_args__ = (
        Index(None, "environment_version_id", "created_at"),
        Index(None, "org_id", "created_at"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    org_id: Mapped[UUID] = mapped_column(ForeignKey("orgs.id"))
    project_id: Mapped[UUID] = mapped_column(ForeignKey("projects.id"))
    environment_version_id: Mapped[UUID] = mapped_column(ForeignKey("environment_versions.id"))
    tree_digest: Mapped[str] = mapped_column(String(71))
    target: Mapped[str] = mapped_column(String(300))
    revision: Mapped[str | None] = mapped_column(String(200))
    endpoint: Mapped[str | None] = mapped_column(String(500))
    settings: Mapped[JsonObject]
    suites: Mapped[list[JsonObject]] = mapped_column(JSON)
    size: Mapped[int]
    created_by: Mapped[str] = mapped_column(String(200))
    created_at: Mapped[datetime]


class EvaluationCase(Base):
    """One question of a suite: what was answered, and what that was worth, or why it is not known."""

    __tablename__ = "evaluation_cases"

    evaluation_id: Mapped[UUID] = mapped_column(
        ForeignKey("evaluations.id", ondelete="CASCADE"), primary_key=True
    )
    suite: Mapped[str] = mapped_column(String(200), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    data: Mapped[JsonObject]
