"""Lines whose units change after they were ordered keep what was ordered."""

from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    # {"quantity": 3, "discounts": […]} where it isn't quantity and discounts themselves.
    op.execute("ALTER TABLE order_line ADD COLUMN ordered jsonb")
