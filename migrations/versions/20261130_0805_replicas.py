"""Engines that run by themselves make themselves known, under leases.

Revision: 781a4317953e
Follows: a4bb14f8df07
"""

import sqlalchemy as sa
from alembic import op

revision = "781a4317953e"
down_revision = "a4bb14f8df07"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "replicas",
        sa.Column("life", sa.String(length=64), nullable=False),
        sa.Column("base_model", sa.String(length=200), nullable=False),
        sa.Column("served_as", sa.String(length=16), nullable=False),
        sa.Column("url", sa.String(length=200), nullable=False),
        sa.Column("host_url", sa.String(length=200), nullable=False),
        sa.Column("encrypted_key", sa.LargeBinary(), nullable=False),
        sa.Column(
            "state",
            sa.Enum(
                "ready",
                "draining",
                name="state",
                native_enum=False,
                create_constraint=True,
                length=20,
            ),
            nullable=False,
        ),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("life", name=op.f("pk_replicas")),
    )
    op.create_index(op.f("ix_replicas_lease_until"), "replicas", ["lease_until"])


def downgrade() -> None:
    op.drop_table("replicas")
