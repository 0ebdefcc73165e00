"""Base models that orgs add: a catalog file is read by one process, a table by every replica.

Revision: 8371114bba77
Follows: 7d1b6c04f2e9
"""

import sqlalchemy as sa
from alembic import op

revision = "8371114bba77"
down_revision = "7d1b6c04f2e9"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "added_models",
        sa.Column("org_id", sa.Uuid(), nullable=False),
        sa.Column("model_id", sa.String(length=200), nullable=False),
        sa.Column("revision", sa.String(length=200), nullable=False),
        sa.Column("entry", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["org_id"], ["orgs.id"], name=op.f("fk_added_models_org_id_orgs")),
        sa.PrimaryKeyConstraint("org_id", "model_id", name=op.f("pk_added_models")),
    )


def downgrade() -> None:
    op.drop_table("added_models")
