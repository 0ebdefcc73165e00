"""Secrets of projects and runs, what models got in suites, and what `validate` said of a version.

Revision: 44e80ab341af
Follows: 5f0a7c1e9d42
"""

import sqlalchemy as sa
from alembic import op

revision = "44e80ab341af"
down_revision = "5f0a7c1e9d42"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "project_secrets",
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("ciphertext", sa.LargeBinary(), nullable=False),
        sa.Column("updated_by", sa.String(length=200), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_project_secrets_project_id_projects")
        ),
        sa.PrimaryKeyConstraint("project_id", "name", name=op.f("pk_project_secrets")),
    )
    op.create_table(
        "evaluations",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("org_id", sa.Uuid(), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("environment_version_id", sa.Uuid(), nullable=False),
        sa.Column("tree_digest", sa.String(length=71), nullable=False),
        sa.Column("target", sa.String(length=300), nullable=False),
        sa.Column("revision", sa.String(length=200), nullable=True),
        sa.Column("endpoint", sa.String(length=500), nullable=True),
        sa.Column("settings", sa.JSON(), nullable=False),
        sa.Column("suites", sa.JSON(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("created_by", sa.String(length=200), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["environment_version_id"],
            ["environment_versions.id"],
            name=op.f("fk_evaluations_environment_version_id_environment_versions"),
        ),
        sa.ForeignKeyConstraint(["org_id"], ["orgs.id"], name=op.f("fk_evaluations_org_id_orgs")),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_evaluations_project_id_projects")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_evaluations")),
    )
    with op.batch_alter_table("evaluations", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_evaluations_environment_version_id_created_at"),
            ["environment_version_id", "created_at"],
            unique=False,
        )
        batch_op.create_index(
            batch_op.f("ix_evaluations_org_id_created_at"), ["org_id", "created_at"], unique=False
        )

    op.create_table(
        "evaluation_cases",
        sa.Column("evaluation_id", sa.Uuid(), nullable=False),
        sa.Column("suite", sa.String(length=200), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("data", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["evaluation_id"],
            ["evaluations.id"],
            name=op.f("fk_evaluation_cases_evaluation_id_evaluations"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint(
            "evaluation_id", "suite", "position", name=op.f("pk_evaluation_cases")
        ),
    )
    op.create_table(
        "run_secrets",
        sa.Column("run_id", sa.String(length=14), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("ciphertext", sa.LargeBinary(), nullable=True),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_run_secrets_run_id_runs")),
        sa.PrimaryKeyConstraint("run_id", "name", name=op.f("pk_run_secrets")),
    )
    with op.batch_alter_table("version_contents", schema=None) as batch_op:
        batch_op.add_column(sa.Column("checks", sa.JSON(), nullable=False, server_default="{}"))


def downgrade() -> None:
    with op.batch_alter_table("version_contents", schema=None) as batch_op:
        batch_op.drop_column("checks")

    op.drop_table("run_secrets")
    op.drop_table("evaluation_cases")
    with op.batch_alter_table("evaluations", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_evaluations_org_id_created_at"))
        batch_op.drop_index(batch_op.f("ix_evaluations_environment_version_id_created_at"))

    op.drop_table("evaluations")
    op.drop_table("project_secrets")
