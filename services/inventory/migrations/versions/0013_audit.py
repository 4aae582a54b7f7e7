"""The audit log."""

from alembic import op

from services.kit import schema

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    for statement in schema.audit("inventory"):
        op.execute(statement)
