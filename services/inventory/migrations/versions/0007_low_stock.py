"""Low stock: the levels of a location by what is available, page by page, without sorting the whole location."""

from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.execute("CREATE INDEX stock_level_available ON stock_level (tenant_id, location_id, available, sku_key)")
