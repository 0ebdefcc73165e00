"""What a key may ask of a gateway in a minute. Keys that are there have no limit of their own.

Revision: cbb32350f344
Follows: 781a4317953e
"""

import sqlalchemy as sa
from alembic import op

revision = "cbb32350f344"
down_revision = "781a4317953e"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("api_keys") as keys:
        keys.add_column(sa.Column("requests_per_minute", sa.Integer(), nullable=True))
        keys.add_column(sa.Column("tokens_per_minute", sa.Integer(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("api_keys") as keys:
        keys.drop_column("tokens_per_minute")
        keys.drop_column("requests_per_minute")
