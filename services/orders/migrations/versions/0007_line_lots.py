"""The lot that a till named on a line."""

from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.execute("ALTER TABLE order_line ADD COLUMN lot text NOT NULL DEFAULT ''")
