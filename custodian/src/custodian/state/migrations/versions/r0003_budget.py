"""The privacy budget's ledger: hash-chained entries that can only grow."""

import sqlalchemy as sa
from alembic import op

from custodian.state.migrations.versions.r0002_log import append_only

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make the table, and triggers that refuse to change or remove a row."""
    op.create_table(
        "budget_entries",
        sa.Column("number", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("cohort", sa.String(64), nullable=False, index=True),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("purpose", sa.String(80), nullable=False),
        sa.Column("subject", sa.String(200), nullable=False),
        sa.Column("key", sa.String(64), nullable=False),
        sa.Column("mechanism", sa.Text(), nullable=False),
        sa.Column("epsilon", sa.Float()),
        sa.Column("delta", sa.Float()),
        sa.Column("detail", sa.String(200), nullable=False),
        sa.Column("created", sa.String(20), nullable=False),
        sa.Column("previous", sa.String(64), nullable=False, unique=True),
        sa.Column("hash", sa.String(64), nullable=False),
    )
    append_only("budget_entries")
