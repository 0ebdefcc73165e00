"""How each attempt at a run ended, which workers are known, and checkpoints without all their parts.

A checkpoint's state may be dropped, so it may be null. A downgrade puts the adapter in its place: only
the newest checkpoint of a run that goes on is resumed from, and that one has its state.

Revision: 4772a2c33423
Follows: 8371114bba77
"""

import sqlalchemy as sa
from alembic import op

revision = "4772a2c33423"
down_revision = "8371114bba77"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "known_workers",
        sa.Column("worker_id", sa.String(length=200), nullable=False),
        sa.Column("device_type", sa.String(length=100), nullable=False),
        sa.Column("device_count", sa.Integer(), nullable=False),
        sa.Column("last_seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("worker_id", name=op.f("pk_known_workers")),
    )
    op.create_table(
        "run_attempts",
        sa.Column("run_id", sa.String(length=14), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("worker_id", sa.String(length=200), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("first_step", sa.Integer(), nullable=False),
        sa.Column("last_step", sa.Integer(), nullable=True),
        sa.Column(
            "outcome",
            sa.Enum(
                "done",
                "failed",
                "cancelled",
                "retried",
                "lost",
                "released",
                name="outcome",
                native_enum=False,
                create_constraint=True,
                length=20,
            ),
            nullable=True,
        ),
        sa.Column("error", sa.JSON(none_as_null=True), nullable=True),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_run_attempts_run_id_runs")),
        sa.PrimaryKeyConstraint("run_id", "attempt", name=op.f("pk_run_attempts")),
    )
    with op.batch_alter_table("checkpoints", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column("adapter_kept", sa.Boolean(), server_default=sa.true(), nullable=False)
        )
        batch_op.alter_column("state", existing_type=sa.JSON(), nullable=True)
    with op.batch_alter_table("runs", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column("lease_collected", sa.Boolean(), server_default=sa.false(), nullable=False)
        )
        batch_op.add_column(
            sa.Column("gpu_type", sa.String(length=100), server_default="", nullable=False)
        )
        batch_op.add_column(
            sa.Column("gpu_count", sa.Integer(), server_default="1", nullable=False)
        )
        batch_op.add_column(
            sa.Column(
                "phase",
                sa.Enum(
                    "starting",
                    "rollouts",
                    "step",
                    "checkpoint",
                    name="phase",
                    native_enum=False,
                    create_constraint=True,
                    length=20,
                ),
                nullable=True,
            )
        )


def downgrade() -> None:
    with op.batch_alter_table("runs", schema=None) as batch_op:
        batch_op.drop_constraint(op.f("ck_runs_phase"), type_="check")
        batch_op.drop_column("phase")
        batch_op.drop_column("gpu_count")
        batch_op.drop_column("gpu_type")
        batch_op.drop_column("lease_collected")
    op.execute(sa.text("UPDATE checkpoints SET state = adapter WHERE state IS NULL"))
    with op.batch_alter_table("checkpoints", schema=None) as batch_op:
        batch_op.alter_column("state", existing_type=sa.JSON(), nullable=False)
        batch_op.drop_column("adapter_kept")
    op.drop_table("run_attempts")
    op.drop_table("known_workers")
