"""Make the table of observations."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table and its indexes."""
    op.create_table(
        "observations",
        sa.Column("sensor", sa.String, nullable=False),
        sa.Column("key", sa.String, nullable=False),
        sa.Column("measured_at", sa.BigInteger, nullable=False),  # microseconds since 1970, UTC
        sa.Column("received_at", sa.BigInteger, nullable=False),
        sa.Column("timed", sa.Boolean, nullable=False),
        sa.Column("value", sa.Double),
        sa.Column("flag", sa.String, nullable=False),
        sa.Column("reasons", sa.String, nullable=False),
        sa.Column("deviation", sa.Double),
        sa.PrimaryKeyConstraint("sensor", "key", name="pk_observations"),
    )
    op.create_index("ix_observations_sensor_measured_at", "observations", ["sensor", "measured_at"])


def downgrade() -> None:
    """Drop the table."""
    op.drop_table("observations")
