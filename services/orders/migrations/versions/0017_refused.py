"""Refused placements are forgotten after a while; deposits have a day by which the rest is due."""

from alembic import op

from services.kit import schema

revision = "0017"
down_revision = "0016"

_REFUSED = """EXISTS (SELECT FROM sales_order o WHERE o.tenant_id = {0}.tenant_id AND o.id = {0}.order_id
    AND o.state IN (5, 6) AND o.placed_at IS NULL AND o.seq = 0)"""
STATEMENTS = [
    "ALTER TABLE sales_order ADD COLUMN balance_due_at timestamptz",
    """CREATE INDEX sales_order_balance ON sales_order (tenant_id, occurred_at, id) INCLUDE (balance_due_at)
        WHERE balance_due_at IS NOT NULL""",
    # A row for each refused placement that may be forgotten: workers see no orders.
    """CREATE TABLE order_refused (
        tenant_id uuid NOT NULL, order_id uuid NOT NULL, refused_at timestamptz NOT NULL,
        PRIMARY KEY (tenant_id, order_id)
    )""",
    "CREATE INDEX order_refused_at ON order_refused (refused_at)",
    *schema.tenant_table("orders", "order_refused", app="SELECT, INSERT, DELETE", worker="SELECT"),
    # Whatever the code does: nothing is deleted that was ever placed, sold, or had money. Sales have a seq.
    """CREATE POLICY refused ON sales_order AS RESTRICTIVE FOR DELETE TO orders_app
        USING (state IN (5, 6) AND placed_at IS NULL AND seq = 0)""",
    f"CREATE POLICY refused ON order_history AS RESTRICTIVE FOR DELETE TO orders_app USING ({_REFUSED.format('order_history')})",
    """CREATE POLICY declined ON payment AS RESTRICTIVE FOR DELETE TO orders_app
        USING (state = 2 AND authorised = 0)""",
    """CREATE POLICY declined ON payment_operation AS RESTRICTIVE FOR DELETE TO orders_app
        USING (progress = 3)""",
    """CREATE POLICY resolved ON payment_exception AS RESTRICTIVE FOR DELETE TO orders_app
        USING (resolved_at IS NOT NULL)""",
    "GRANT DELETE ON sales_order, order_history, payment, payment_operation, payment_exception TO orders_app",
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
