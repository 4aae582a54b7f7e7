"""When drafts of orders run out."""

from alembic import op

from services.kit import schema

revision = "0008"
down_revision = "0007"

STATEMENTS = [
    # A row a draft, until it has run out or a look at it finds that it is none any more: workers see no orders.
    """CREATE TABLE order_draft_due (
        tenant_id uuid NOT NULL, order_id uuid NOT NULL, due_at timestamptz NOT NULL,
        PRIMARY KEY (tenant_id, order_id)
    )""",
    "CREATE INDEX order_draft_due_at ON order_draft_due (due_at)",
    *schema.tenant_table("orders", "order_draft_due", app="SELECT, INSERT, UPDATE, DELETE", worker="SELECT"),
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
