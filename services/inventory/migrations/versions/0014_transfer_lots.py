"""Lots of transfers: which units of each lot a line has sent, received, lost; and lots that receivers have seen."""

from alembic import op

from services.kit import schema

revision = "0014"
down_revision = "0013"

STATEMENTS = [
    # Learnt from what the steps of a transfer have moved. Units of a line beyond its lots are of none. mistaken: sent as of the
    # lot, and seen to be of another as they came. A transfer that was on the road before this table is told its lots as they
    # come.
    """CREATE TABLE transfer_lot (
        tenant_id uuid NOT NULL, transfer_id uuid NOT NULL, sku_key text COLLATE "C" NOT NULL, lot text COLLATE "C" NOT NULL,
        shipped bigint NOT NULL CHECK (shipped >= 0), received bigint NOT NULL CHECK (received >= 0),
        lost bigint NOT NULL CHECK (lost >= 0), mistaken bigint NOT NULL CHECK (mistaken >= 0),
        surplus bigint NOT NULL CHECK (surplus BETWEEN 0 AND received),
        CHECK (received - surplus + lost + mistaken <= shipped),
        PRIMARY KEY (tenant_id, transfer_id, sku_key, lot),
        FOREIGN KEY (tenant_id, transfer_id) REFERENCES transfer (tenant_id, id),
        FOREIGN KEY (tenant_id, sku_key, lot) REFERENCES lot (tenant_id, sku_key, code)
    )""",
    "ALTER TABLE transfer_event_line ADD lot text NOT NULL DEFAULT ''",
    *schema.tenant_table("inventory", "transfer_lot", app="SELECT, INSERT, UPDATE"),
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
