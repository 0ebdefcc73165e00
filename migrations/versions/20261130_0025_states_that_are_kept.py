"""An index of the states that are kept: retention looks for those to drop, and most are dropped.

Revision: 4e0c9d1fa6b8
Follows: 4772a2c33423
"""

import sqlalchemy as sa
from alembic import op

revision = "4e0c9d1fa6b8"
down_revision = "4772a2c33423"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(
        op.f("ix_checkpoints_run_id"),
        "checkpoints",
        ["run_id"],
        sqlite_where=sa.text("state IS NOT NULL"),
        postgresql_where=sa.text("state IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_index(op.f("ix_checkpoints_run_id"), table_name="checkpoints")
