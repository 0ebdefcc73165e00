"""Search: what environments are found by, and each database's own index over it.

Revision: 5f0a7c1e9d42
Follows: c2be7b1c09a2
"""

import sqlalchemy as sa
from alembic import op

revision = "5f0a7c1e9d42"
down_revision = "c2be7b1c09a2"
branch_labels = None
depends_on = None

_COLUMNS = "name, about, text, facets"
_NEW = "new.id, new.name, new.about, new.text, new.facets"
_OLD = "'delete', old.id, old.name, old.about, old.text, old.facets"
_INSERT = f"INSERT INTO search_index (rowid, {_COLUMNS}) VALUES ({_NEW});"  # noqa: S608
_DELETE = f"INSERT INTO search_index (search_index, rowid, {_COLUMNS}) VALUES ({_OLD});"  # noqa: S608

# The words are folded before they are stored, so the tokenizer must not fold them otherwise.
_SQLITE = (
    f"""CREATE VIRTUAL TABLE search_index USING fts5 (
        {_COLUMNS}, content = 'search_documents', content_rowid = 'id', prefix = '2 3',
        tokenize = 'unicode61 remove_diacritics 0'
    )""",
    f"CREATE TRIGGER search_documents_added AFTER INSERT ON search_documents BEGIN {_INSERT} END",
    f"CREATE TRIGGER search_documents_gone AFTER DELETE ON search_documents BEGIN {_DELETE} END",
    f"""CREATE TRIGGER search_documents_changed AFTER UPDATE ON search_documents
        BEGIN {_DELETE} {_INSERT} END""",
)
# The weights tell the columns apart: a search may ask for words of the name alone.
_POSTGRESQL = (
    """ALTER TABLE search_documents ADD COLUMN words tsvector NOT NULL GENERATED ALWAYS AS (
        setweight(to_tsvector('simple', name), 'A') || setweight(to_tsvector('simple', about), 'B')
        || setweight(to_tsvector('simple', text), 'C')
        || setweight(to_tsvector('simple', facets), 'D')
    ) STORED""",
    "CREATE INDEX ix_search_documents_words ON search_documents USING gin (words)",
)


def upgrade() -> None:
    op.create_table(
        "search_documents",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("environment_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("about", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("facets", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["environment_id"],
            ["environments.id"],
            name=op.f("fk_search_documents_environment_id_environments"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_search_documents")),
        sa.UniqueConstraint("environment_id", name=op.f("uq_search_documents_environment_id")),
    )
    for statement in _SQLITE if op.get_bind().dialect.name == "sqlite" else _POSTGRESQL:
        op.execute(statement)


def downgrade() -> None:
    op.drop_table("search_documents")
    op.execute("DROP TABLE IF EXISTS search_index")
