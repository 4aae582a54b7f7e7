"""Partition maintenance, idempotency, outbox, inbox: what every service has."""

from alembic import op

from services.kit import schema

revision = "0001"
down_revision = None


def upgrade() -> None:
    for statement in [
        *schema.partitions("inventory"),
        *schema.idempotency("inventory"),
        *schema.messaging("inventory"),
    ]:
        op.execute(statement)
