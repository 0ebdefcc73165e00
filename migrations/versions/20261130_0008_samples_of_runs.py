"""Samples among the events of runs, and an index to read one kind of events step by step.

Revision: 41a551dfcdd6
Follows: 44e80ab341af
"""

from alembic import op

revision = "41a551dfcdd6"
down_revision = "44e80ab341af"
branch_labels = None
depends_on = None

_CHECK = "ck_run_events_kind"
_INDEX = "ix_run_events_run_id_kind_step_seq"


def upgrade() -> None:
    _allow("state", "log", "metrics", "sample")
    op.create_index(_INDEX, "run_events", ["run_id", "kind", "step", "seq"])


def downgrade() -> None:
    op.drop_index(_INDEX, "run_events")
    op.execute("DELETE FROM run_events WHERE kind = 'sample'")
    _allow("state", "log", "metrics")


def _allow(*kinds: str) -> None:
    condition = f"kind IN ({', '.join(repr(kind) for kind in kinds)})"
    with op.batch_alter_table("run_events") as batch_op:
        batch_op.drop_constraint(op.f(_CHECK))
        batch_op.create_check_constraint(op.f(_CHECK), condition)
