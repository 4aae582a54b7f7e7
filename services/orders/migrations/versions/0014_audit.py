"""The audit log, and the key of each customer that what it says of them is sealed with."""

from alembic import op

from services.kit import schema

revision = "0014"
down_revision = "0013"

STATEMENTS = [
    *schema.audit("orders"),
    # Sealed with the customer's key, and so gone with it. It stays the same when that one is rotated: entries of the log
    # are never written anew. NULL: nothing was noted of the customer since this column is there.
    "ALTER TABLE customer_key ADD COLUMN audit_wrapped bytea",
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
