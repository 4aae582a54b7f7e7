"""What a bundle consisted of when it was sold: a snapshot on its line."""

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    # [[SKU, units in one unit], …], plain SKUs; NULL for what is no bundle, which most lines are.
    op.execute("ALTER TABLE order_line ADD COLUMN components jsonb")
