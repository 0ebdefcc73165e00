"""Secrets of projects and of runs, encrypted; only their names are ever shown."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ForeignKey, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from hub_server.models.base import Base


class ProjectSecret(Base):
    """A secret that every run of a project may have, if its environment declares the name."""

    __tablename__ = "project_secrets"

    project_id: Mapped[UUID] = mapped_column(ForeignKey("projects.id"), primary_key=True)
    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    ciphertext: Mapped[bytes] = mapped_column(LargeBinary)
    updated_by: Mapped[str] = mapped_column(String(200))
    updated_at: Mapped[datetime]


class RunSecret(Base):
    """A secret that a run gets; it goes when the run has ended.

    One that was not handed in with the run has no `ciphertext`: it is the project's.
    """

    __tablename__ = "run_secrets"

    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id"), primary_key=True)
    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    ciphertext: Mapped[bytes | None] = mapped_column(LargeBinary)
