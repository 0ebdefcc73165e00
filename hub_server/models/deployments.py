"""Deployments, and the aliases that point to them."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ForeignKey, ForeignKeyConstraint, Index, String, UniqueConstraint, false
from sqlalchemy.orm import Mapped, mapped_column

from freesolo.domain.lifecycle import DeploymentState
from freesolo.schemas.runs import RunError
from hub_server.models.base import AsJson, Base, state_type


class Alias(Base):
    """A name that clients ask for, and the generation of the deployment it points to.

    Every deploy, rollback and undeploy of the name is issued the next generation. The alias only ever
    moves to a higher one, so that a slow deployment never replaces one that was asked for after it.
    """

    __tablename__ = "aliases"

    org_id: Mapped[UUID] = mapped_column(ForeignKey("orgs.id"), primary_key=True)
    name: Mapped[str] = mapped_column(String(200), primary_key=True)
    issued: Mapped[int] = mapped_column(default=0)
    generation: Mapped[int] = mapped_column(default=0)


class Deployment(Base):
    """One try at serving a revision, with the lease of the gateway that has it.

    What is ready answers by its revision until it is withdrawn, whatever the alias points to. With
    `staged` the alias was never moved to it. A revision is ready in one deployment at most.
    """

    __tablename__ = "deployments"
    __table_args__ = (
        UniqueConstraint("org_id", "alias", "generation"),
        ForeignKeyConstraint(["org_id", "alias"], ["aliases.org_id", "aliases.name"]),
        ForeignKeyConstraint(["run_id", "step"], ["checkpoints.run_id", "checkpoints.step"]),
        Index(None, "state", "created_at"),
    )

    id: Mapped[str] = mapped_column(String(14), primary_key=True)
    org_id: Mapped[UUID] = mapped_column(ForeignKey("orgs.id"))
    alias: Mapped[str] = mapped_column(String(200))
    generation: Mapped[int]
    run_id: Mapped[str] = mapped_column(String(14))
    step: Mapped[int]
    revision: Mapped[str] = mapped_column(String(100))
    base_model: Mapped[str] = mapped_column(String(200))
    base_revision: Mapped[str] = mapped_column(String(200))
    staged: Mapped[bool] = mapped_column(default=False, server_default=false())
    state: Mapped[DeploymentState] = mapped_column(state_type(DeploymentState, "state"))
    error: Mapped[RunError | None] = mapped_column(AsJson(RunError))
    created_at: Mapped[datetime]
    ready_at: Mapped[datetime | None]

    attempt: Mapped[int] = mapped_column(default=0)
    lease_token: Mapped[str | None] = mapped_column(String(64))
    lease_until: Mapped[datetime | None]
