"""What runs build on: adapters they began from or were taught by, the run that they do over again.

Also what made their adapters. All of it is unknown of the runs before, and may stay so.

Revision: 27c715471d3c
Follows: 44e80ab341af
"""

import sqlalchemy as sa
from alembic import op

revision = "27c715471d3c"
down_revision = "41a551dfcdd6"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("runs", schema=None) as batch_op:
        batch_op.add_column(sa.Column("warm_start", sa.JSON(none_as_null=True), nullable=True))
        batch_op.add_column(sa.Column("teacher_model_id", sa.String(length=200), nullable=True))
        batch_op.add_column(
            sa.Column("teacher_model_revision", sa.String(length=200), nullable=True)
        )
        batch_op.add_column(sa.Column("teacher_adapter", sa.JSON(none_as_null=True), nullable=True))
        batch_op.add_column(sa.Column("reproduces", sa.String(length=14), nullable=True))
        batch_op.add_column(sa.Column("provenance", sa.JSON(none_as_null=True), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("runs", schema=None) as batch_op:
        batch_op.drop_column("provenance")
        batch_op.drop_column("reproduces")
        batch_op.drop_column("teacher_adapter")
        batch_op.drop_column("teacher_model_revision")
        batch_op.drop_column("teacher_model_id")
        batch_op.drop_column("warm_start")
