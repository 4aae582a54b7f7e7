"""Holds may be given back in parts: a line of which nothing is left stays, with no units."""

from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.execute(
        "ALTER TABLE hold DROP CONSTRAINT hold_quantity_check, ADD CONSTRAINT hold_quantity_check CHECK (quantity >= 0)"
    )
