"""Make the tables of boards, their messages, keys, the audit log and what signs confirmed."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None
NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")  # SQLite counts only INTEGER keys by itself


def upgrade() -> None:
    """Make the tables and their indexes. Times are microseconds since 1970, UTC."""
    op.create_table(
        "boards",
        sa.Column("board", sa.String, primary_key=True),
        sa.Column("id", sa.String, nullable=False),
        sa.Column("measured_at", sa.BigInteger, nullable=False),
        sa.Column("written_at", sa.BigInteger, nullable=False),
        sa.Column("blank_at", sa.BigInteger, nullable=False),
        sa.Column("boot", sa.String, nullable=False),
        sa.Column("shown_at", sa.Double, nullable=False),
        sa.Column("stale_at", sa.Double, nullable=False),
        sa.Column("sign", sa.String, nullable=False),
        sa.Column("timezone", sa.String, nullable=False),
        sa.Column("message", sa.String, nullable=False),
    )
    op.create_table(
        "board_messages",
        sa.Column("number", NUMBER, primary_key=True, autoincrement=True),
        sa.Column("id", sa.String, nullable=False, unique=True),
        sa.Column("board", sa.String, nullable=False),
        sa.Column("message", sa.String, nullable=False),
    )
    op.create_index("ix_board_messages_board_number", "board_messages", ["board", "number"])
    op.create_table(
        "keys",
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("scopes", sa.String, nullable=False),
        sa.Column("digest", sa.String, nullable=False),
        sa.Column("added_at", sa.BigInteger, nullable=False),
        sa.Column("revoked_at", sa.BigInteger),
    )
    op.create_table(
        "audit",
        sa.Column("number", NUMBER, primary_key=True, autoincrement=True),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("who", sa.String, nullable=False),
        sa.Column("what", sa.String, nullable=False),
        sa.Column("subject", sa.String, nullable=False),
        sa.Column("detail", sa.String, nullable=False),
    )
    op.create_index("ix_audit_at", "audit", ["at"])
    op.create_table(
        "deliveries",
        sa.Column("sign", sa.String, primary_key=True),
        sa.Column("sent_at", sa.BigInteger),
        sa.Column("confirmed_at", sa.BigInteger),
        sa.Column("failed_since", sa.BigInteger),
    )


def downgrade() -> None:
    """Drop the tables: boards, keys and the audit log are lost, observations stay."""
    for table in ("deliveries", "audit", "keys", "board_messages", "boards"):
        op.drop_table(table)
