"""Make the table of the topics that each session at a broker has subscribed to."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "subscriptions",
        sa.Column("session", sa.String, nullable=False),  # client id and broker
        sa.Column("topic", sa.String, nullable=False),
        sa.PrimaryKeyConstraint("session", "topic", name="pk_subscriptions"),
    )


def downgrade() -> None:
    """Drop the table."""
    op.drop_table("subscriptions")
