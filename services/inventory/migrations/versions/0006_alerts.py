"""Thresholds and alerts of levels; the worker may list the heads, so that the ledger can be proven over all tenants."""

from alembic import op

revision = "0006"
down_revision = "0005"

STATEMENTS = [
    # Kinds as 0 (none) to 3 of tillmesh.inventory.v1.StockAlertKind. No default is written to any row.
    "ALTER TABLE stock_level ADD low_stock_threshold bigint CHECK (low_stock_threshold >= 0)",
    "ALTER TABLE stock_level ADD rearm_threshold bigint",
    "ALTER TABLE stock_level ADD alert smallint NOT NULL DEFAULT 0 CHECK (alert BETWEEN 0 AND 3)",
    """ALTER TABLE stock_level ADD CONSTRAINT stock_level_thresholds CHECK (
        (low_stock_threshold IS NULL) = (rearm_threshold IS NULL) AND rearm_threshold >= low_stock_threshold
    )""",
    # Small, as few levels have an alert, and free for movements: none of its columns is one that they write.
    "CREATE INDEX stock_level_alert ON stock_level (tenant_id, location_id, alert, sku_key) WHERE alert > 0",
    # Which locations there are, of all tenants, and nothing of what is in them.
    "CREATE POLICY worker ON stock_head TO inventory_worker USING (true)",
    "GRANT SELECT (tenant_id, location_id) ON stock_head TO inventory_worker",
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
