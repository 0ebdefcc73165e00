"""What a run was trained on, as its job tells it: estimates learn how fast a device is from it.

Revision: 7d1b6c04f2e9
Follows: 27c715471d3c
"""

import sqlalchemy as sa
from alembic import op

revision = "7d1b6c04f2e9"
down_revision = "27c715471d3c"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("runs", schema=None) as batch_op:
        batch_op.add_column(sa.Column("device", sa.JSON(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("runs", schema=None) as batch_op:
        batch_op.drop_column("device")
