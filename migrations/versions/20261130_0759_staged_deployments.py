"""Deployments that are served by their revision only, beside what their alias points to.

What was ready before had its alias pointing to it.

Revision: a4bb14f8df07
Follows: e778761b2169
"""

import sqlalchemy as sa
from alembic import op

revision = "a4bb14f8df07"
down_revision = "e778761b2169"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("deployments") as deployments:
        deployments.add_column(
            sa.Column("staged", sa.Boolean(), server_default=sa.false(), nullable=False)
        )


def downgrade() -> None:
    with op.batch_alter_table("deployments") as deployments:
        deployments.drop_column("staged")
