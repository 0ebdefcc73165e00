"""A ledger: what requests cost, what orgs have left, and what is held for open requests.

What was counted before has no price, and stays in the reports.

Revision: e778761b2169
Follows: 4e0c9d1fa6b8
"""

import sqlalchemy as sa
from alembic import op

revision = "e778761b2169"
down_revision = "4e0c9d1fa6b8"
branch_labels = None
depends_on = None

_COUNTS = ("prompt_tokens", "cached_tokens", "completion_tokens")
# SQLite has moments in UTC; PostgreSQL tells them in the zone of whoever asks.
_SET_DAY = {
    "sqlite": "UPDATE usage SET day = DATE(created_at)",
    "postgresql": "UPDATE usage SET day = DATE(created_at AT TIME ZONE 'UTC')",
}


def _one_of(name: str, *states: str) -> sa.Enum:
    return sa.Enum(*states, name=name, native_enum=False, create_constraint=True, length=20)


def upgrade() -> None:
    op.create_table(
        "balances",
        sa.Column("org_id", sa.Uuid(), nullable=False),
        sa.Column("balance", sa.BigInteger(), nullable=False),
        sa.Column("held", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("held >= 0", name=op.f("ck_balances_held")),
        sa.ForeignKeyConstraint(["org_id"], ["orgs.id"], name=op.f("fk_balances_org_id_orgs")),
        sa.PrimaryKeyConstraint("org_id", name=op.f("pk_balances")),
    )
    op.create_table(
        "credits",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("org_id", sa.Uuid(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("note", sa.String(length=200), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["org_id"], ["orgs.id"], name=op.f("fk_credits_org_id_orgs")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_credits")),
    )
    op.create_index(op.f("ix_credits_org_id"), "credits", ["org_id"])
    op.create_table(
        "holds",
        sa.Column("id", sa.String(length=100), nullable=False),
        sa.Column("org_id", sa.Uuid(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["org_id"], ["orgs.id"], name=op.f("fk_holds_org_id_orgs")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_holds")),
    )
    op.create_index(op.f("ix_holds_until"), "holds", ["until"])

    witness = _one_of("witness", "gateway", "engine")
    outcome = _one_of("outcome", "counted", "void", "lost")
    with op.batch_alter_table("usage") as usage:
        usage.add_column(sa.Column("witness", witness, nullable=False, server_default="gateway"))
        usage.add_column(sa.Column("outcome", outcome, nullable=False, server_default="counted"))
        usage.add_column(sa.Column("engine", sa.String(length=64)))
        usage.add_column(
            sa.Column("reasoning_tokens", sa.BigInteger(), nullable=False, server_default="0")
        )
        usage.add_column(sa.Column("amount", sa.BigInteger(), nullable=False, server_default="0"))
        usage.add_column(sa.Column("day", sa.Date()))
        for name in _COUNTS:
            usage.alter_column(name, existing_type=sa.Integer(), type_=sa.BigInteger())
        usage.drop_index(op.f("ix_usage_org_id_key_id_model"))
    op.execute(_SET_DAY[op.get_bind().dialect.name])
    with op.batch_alter_table("usage") as usage:
        for name in ("witness", "outcome", "reasoning_tokens", "amount"):
            usage.alter_column(name, server_default=None)
        usage.alter_column("day", existing_type=sa.Date(), nullable=False)
        usage.create_index(op.f("ix_usage_engine"), ["engine"])
        usage.create_index(op.f("ix_usage_org_id_day"), ["org_id", "day"])


def downgrade() -> None:
    # What was not counted was no row before.
    op.execute("DELETE FROM usage WHERE outcome <> 'counted'")
    with op.batch_alter_table("usage") as usage:
        usage.drop_index(op.f("ix_usage_org_id_day"))
        usage.drop_index(op.f("ix_usage_engine"))
        usage.create_index(op.f("ix_usage_org_id_key_id_model"), ["org_id", "key_id", "model"])
        for name in _COUNTS:
            usage.alter_column(name, existing_type=sa.BigInteger(), type_=sa.Integer())
        for name in ("day", "amount", "reasoning_tokens", "engine"):
            usage.drop_column(name)
        usage.drop_constraint(op.f("ck_usage_outcome"), type_="check")
        usage.drop_constraint(op.f("ck_usage_witness"), type_="check")
        usage.drop_column("outcome")
        usage.drop_column("witness")
    op.drop_table("holds")
    op.drop_table("credits")
    op.drop_table("balances")
