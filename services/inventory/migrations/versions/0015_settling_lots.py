"""Lots that have changed, until all their units know it: changes reach locations a few at a time."""

from alembic import op

revision = "0015"
down_revision = "0014"

STATEMENTS = [
    # False from a change of dates or a recall on, until stock_lot says so everywhere. What a killed process left is found by
    # the index, over all tenants.
    "ALTER TABLE lot ADD settled boolean NOT NULL DEFAULT true",
    "CREATE INDEX lot_unsettled ON lot (updated_at) WHERE NOT settled",
    "CREATE POLICY worker ON lot TO inventory_worker USING (true) WITH CHECK (true)",
    "GRANT SELECT (tenant_id, id, settled, updated_at) ON lot TO inventory_worker",
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
