"""Partners and grants, as the first version made them."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make both tables. A name has one live certificate at most, on both databases."""
    op.create_table(
        "partners",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("name", sa.String(63), nullable=False, index=True),
        sa.Column("fingerprint", sa.String(64), nullable=False, unique=True),
        sa.Column("certificate", sa.String(), nullable=False),
        sa.Column("created", sa.String(20), nullable=False),
        sa.Column("expires", sa.String(20), nullable=False),
        sa.Column("revoked_at", sa.String(20)),
    )
    live = sa.text("revoked_at IS NULL")
    op.create_index("one_live_certificate", "partners", ["name"], unique=True, sqlite_where=live, postgresql_where=live)
    op.create_table(
        "grants",
        sa.Column("partner_id", sa.Integer(), sa.ForeignKey("partners.id"), primary_key=True),
        sa.Column("series", sa.String(128), primary_key=True),
    )
