"""Transfers between locations, and stock that is on its way: a state of its own, so that no unit is ever nowhere."""

from alembic import op

from services.kit import schema

revision = "0009"
down_revision = "0008"

STATEMENTS = [
    "ALTER TABLE stock_level ADD in_transit bigint NOT NULL DEFAULT 0 CHECK (in_transit >= 0)",
    # 8 IN_TRANSIT: entered from outside only, and never promised. Rows written before are all within the narrower rule that
    # this one replaces, so a ledger of years isn't read again.
    "ALTER TABLE ledger DROP CONSTRAINT ledger_check",
    """ALTER TABLE ledger ADD CONSTRAINT ledger_states CHECK (
        from_state <> to_state AND from_state BETWEEN 1 AND 8 AND to_state BETWEEN 1 AND 8
        AND (to_state <> 8 OR from_state = 1) AND (from_state <> 8 OR to_state NOT IN (3, 4))
    ) NOT VALID""",
    # What a step does at a further location, in the same transaction of the lane.
    "ALTER TABLE document_effect ADD elsewhere_id uuid, ADD elsewhere jsonb",
    "ALTER TABLE document_effect ADD CONSTRAINT document_effect_elsewhere CHECK (elsewhere IS NULL OR elsewhere_id IS NOT NULL)",
    # hold_id: what keeps its units at the origin once it is READY.
    """CREATE TABLE transfer (
        tenant_id uuid NOT NULL, id uuid NOT NULL, number bigint NOT NULL,
        from_location_id uuid NOT NULL, to_location_id uuid NOT NULL, state smallint NOT NULL CHECK (state BETWEEN 1 AND 6),
        expected_at timestamptz, note text NOT NULL, reference text NOT NULL, hold_id uuid, created_by text NOT NULL,
        end_reason text NOT NULL, version bigint NOT NULL, effects int NOT NULL, events int NOT NULL, settled boolean NOT NULL,
        created_at timestamptz NOT NULL, updated_at timestamptz NOT NULL, shipped_at timestamptz, ended_at timestamptz,
        PRIMARY KEY (tenant_id, id),
        CONSTRAINT transfer_number UNIQUE (tenant_id, number),
        CHECK (from_location_id <> to_location_id),
        CHECK ((shipped_at IS NOT NULL) = (state BETWEEN 3 AND 5)),
        CHECK ((ended_at IS NOT NULL) = (state >= 5)),
        FOREIGN KEY (tenant_id, from_location_id) REFERENCES location (tenant_id, id),
        FOREIGN KEY (tenant_id, to_location_id) REFERENCES location (tenant_id, id)
    )""",
    "CREATE INDEX transfer_from ON transfer (tenant_id, from_location_id, id)",
    "CREATE INDEX transfer_to ON transfer (tenant_id, to_location_id, id)",
    # What was sent has come (received, of which damaged and quality_control), is lost, or is still on its way. surplus: what
    # came beyond that.
    """CREATE TABLE transfer_line (
        tenant_id uuid NOT NULL, transfer_id uuid NOT NULL, sku_key text COLLATE "C" NOT NULL, position int NOT NULL,
        sku text NOT NULL, quantity bigint NOT NULL CHECK (quantity > 0),
        shipped bigint NOT NULL CHECK (shipped BETWEEN 0 AND quantity),
        received bigint NOT NULL CHECK (received >= damaged + quality_control),
        damaged bigint NOT NULL CHECK (damaged >= 0), quality_control bigint NOT NULL CHECK (quality_control >= 0),
        lost bigint NOT NULL CHECK (lost >= 0), surplus bigint NOT NULL CHECK (surplus >= 0),
        CHECK (received - surplus + lost <= shipped),
        PRIMARY KEY (tenant_id, transfer_id, sku_key),
        FOREIGN KEY (tenant_id, transfer_id) REFERENCES transfer (tenant_id, id),
        FOREIGN KEY (tenant_id, sku_key) REFERENCES variant (tenant_id, sku_key)
    )""",
    "CREATE INDEX transfer_line_sku ON transfer_line (tenant_id, sku_key, transfer_id)",
    # Who did what. effect: number of the document_effect that brings it into the stock; 0: there is none.
    """CREATE TABLE transfer_event (
        tenant_id uuid NOT NULL, transfer_id uuid NOT NULL, number int NOT NULL, kind smallint NOT NULL,
        note text NOT NULL, actor text NOT NULL, terminal text NOT NULL, effect int NOT NULL,
        occurred_at timestamptz NOT NULL, recorded_at timestamptz NOT NULL,
        PRIMARY KEY (tenant_id, transfer_id, number),
        FOREIGN KEY (tenant_id, transfer_id) REFERENCES transfer (tenant_id, id)
    )""",
    """CREATE TABLE transfer_event_line (
        tenant_id uuid NOT NULL, transfer_id uuid NOT NULL, event int NOT NULL, position int NOT NULL, sku text NOT NULL,
        accepted bigint NOT NULL CHECK (accepted >= 0), damaged bigint NOT NULL CHECK (damaged >= 0),
        quality_control bigint NOT NULL CHECK (quality_control >= 0), lost bigint NOT NULL CHECK (lost >= 0),
        surplus bigint NOT NULL CHECK (surplus BETWEEN 0 AND accepted + damaged + quality_control),
        shipped bigint NOT NULL CHECK (shipped >= 0),
        PRIMARY KEY (tenant_id, transfer_id, event, position),
        FOREIGN KEY (tenant_id, transfer_id, event) REFERENCES transfer_event (tenant_id, transfer_id, number)
    )""",
    *schema.tenant_table("inventory", "transfer", app="SELECT, INSERT, UPDATE"),
    *schema.tenant_table("inventory", "transfer_line"),
    *schema.tenant_table("inventory", "transfer_event", app="SELECT, INSERT"),
    *schema.tenant_table("inventory", "transfer_event_line", app="SELECT, INSERT"),
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
