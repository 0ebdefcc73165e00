"""Engines that run by themselves."""

from datetime import datetime

from sqlalchemy import LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from freesolo.schemas.replicas import ReplicaState
from hub_server.models.base import Base, state_type


class Replica(Base):
    """One life of an engine, for as long as its host says that it lives. Its key is encrypted."""

    __tablename__ = "replicas"

    life: Mapped[str] = mapped_column(String(64), primary_key=True)
    base_model: Mapped[str] = mapped_column(String(200))
    served_as: Mapped[str] = mapped_column(String(16))
    url: Mapped[str] = mapped_column(String(200))
    host_url: Mapped[str] = mapped_column(String(200))
    encrypted_key: Mapped[bytes] = mapped_column(LargeBinary)
    state: Mapped[ReplicaState] = mapped_column(state_type(ReplicaState, "state"))
    started_at: Mapped[datetime]
    lease_until: Mapped[datetime] = mapped_column(index=True)
