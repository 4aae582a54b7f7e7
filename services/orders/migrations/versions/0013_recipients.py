"""Whom orders are for, and where they go, as said when they were placed."""

from alembic import op

from services.kit import schema

revision = "0013"
down_revision = "0009"

STATEMENTS = [
    # The only personal data of an order. Sealed with the customer's key, and gone with it.
    """CREATE TABLE order_recipient (
        tenant_id uuid NOT NULL, order_id uuid NOT NULL, customer_id uuid NOT NULL, sealed bytea NOT NULL,
        PRIMARY KEY (tenant_id, order_id),
        FOREIGN KEY (tenant_id, customer_id) REFERENCES customer_key (tenant_id, customer_id) ON DELETE CASCADE
    )""",
    "CREATE INDEX order_recipient_customer ON order_recipient (tenant_id, customer_id, order_id)",
    *schema.tenant_table("orders", "order_recipient"),
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
